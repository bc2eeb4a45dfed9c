#version 450
// SPDX-License-Identifier: Apache-2.0
// y = act(W x + bias) + residual through texel buffers, for software devices that read those faster than storage
// buffers (lavapipe: 1.5 times): each invocation, or each subgroup, computes a tile of batch rows x weight rows in
// registers. With EPI_GLU, W holds the gate's rows and then as many of up, and y = act(gate) * up.
// WG: workgroup, whole subgroups; ACT: activation (args.h) of calls with EPI_ACT; VEC: tiles of 1 x 8 (decode), where a
// workgroup does all of one batch row before the next, which finds the weights in a cache, else tiles of 8 x 8. With
// EPI_SHARE the lanes of a subgroup share a tile and divide the inner dimension, else a tile is one invocation's. These
// are no constants: one pipeline serves all matrices of a type, and drivers that this is for compile long. Weight rows
// and batch rows begin on 16 bytes, weight rows are whole chunks.
// grid (any, VEC ? 1 : ceil(rows / 8))
#extension GL_EXT_control_flow_attributes : require
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#include "args.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG = 8;
layout(constant_id = 1) const uint VEC = 0;
layout(constant_id = 2) const uint ACT = 0;
layout(push_constant) uniform push { pum_args_matmul pushed; };
pum_args_matmul a; // a copy: lavapipe reads a push constant anew in each round of a loop, with an instruction a lane
const uint ALIGNED = 1u;
#include "lib/weights.glsl"
WEIGHTS(0, w)
#define X_BINDING 1
#define X_FIRST (a.x_sums != 0u ? a.k : 0u)
#define NORM_BINDING 5
#include "lib/input.glsl"
#include "lib/epilogue.glsl"
#include "lib/matvec.glsl"
#include "lib/norm_ends.glsl"

#define TN 8

bool glu() { return (a.epi & EPI_GLU) != 0u; }

// Column of y that a tile's n-th sum is for: the tile has every `apart`-th from s on. Of single batch rows these are as
// far apart as there are tiles: reading all tiles in turn is then reading TN places of the matrix in order, each in
// memory pages of its own, which is what a processor reads ahead. Of others they are neighbours.
uint column(uint s, uint n, uint apart) { return min(s + n * apart, a.n - 1u); }

// Weight row of a tile's n-th sum: with GLU the first half of a tile is of the gate, the second of up
uint weight_row(uint s, uint n, uint apart)
{
    return !glu() || n < TN / 2u ? column(s, n, apart) : a.n + column(s, n - TN / 2u, apart);
}

#define TILE tile_row
#define TM 1
#include "lib/tile.glsl"
#undef TILE
#undef TM
#define TILE tile_square
#define TM 8
#include "lib/tile.glsl"

void main()
{
    a = pushed;
    // all tiles are divided among all sets, neighbours together: a wrong guess of the subgroup size costs time only
    bool share = (a.epi & EPI_SHARE) != 0u;
    uint sets = share ? sets_per_workgroup() : WG, me = share ? set_index() : gl_LocalInvocationID.x;
    uint lane = share ? set_lane() : 0u, lanes = share ? set_lanes() : 1u, columns = glu() ? TN / 2u : TN;
    uint tiles = (a.n + columns - 1u) / columns;
    uint all_sets = gl_NumWorkGroups.x * sets, each = (tiles + all_sets - 1u) / all_sets;
    uint first = (gl_WorkGroupID.x * sets + me) * each, end = min(first + each, tiles);
    if (VEC != 0u) {
        for (uint t = 0u; t < a.rows; t++) {
            float scale = a.x_sums != 0u ? x_scale(t, lane, lanes) : 1.0;
            for (uint s = first; s < end; s++) tile_row(s, tiles, t, lane, lanes, scale);
        }
    } else {
        for (uint s = first; s < end; s++) tile_square(s * columns, 1u, gl_WorkGroupID.y * 8u, 0u, 1u, 1.0);
    }
}
