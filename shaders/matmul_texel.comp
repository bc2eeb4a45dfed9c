#version 450
// SPDX-License-Identifier: Apache-2.0
// y = act(W x + bias) + residual through texel buffers, for software devices that read those faster than storage
// buffers (lavapipe: 1.5 times): each invocation, or each subgroup, computes a tile of batch rows x weight rows in
// registers. With EPI_GLU, W holds the gate's rows and then as many of up, and y = act(gate) * up.
// WG: workgroup, whole subgroups; ACT: activation (args.h) of calls with EPI_ACT. With PUM_VEC (decode) tiles are 1 x
// 8, and a workgroup does all of one batch row before the next, which finds the weights in a cache; with EPI_SHARE the
// lanes of a subgroup then share a tile and divide the inner dimension. Else tiles are 8 x 8, each one invocation's.
// What a call is stands in its arguments, not in constants: one pipeline serves all matrices of a type, and drivers
// that this is for compile long. Weight rows and batch rows begin on 16 bytes, weight rows are whole chunks.
// grid (any, PUM_VEC ? 1 : ceil(rows / 8))
#extension GL_EXT_control_flow_attributes : require
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#include "args.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG = 8;
layout(constant_id = 1) const uint ACT = 0;
layout(push_constant) uniform push { pum_args_matmul pushed; };
pum_args_matmul a; // a copy: lavapipe reads a push constant anew in each round of a loop, with an instruction a lane
const uint ALIGNED = 1u;
#include "lib/weights.glsl"
WEIGHTS(0, w)
#define X_BINDING 1
#define X_FIRST (a.x_sums != 0u ? a.k : 0u)
#include "lib/input.glsl"
#include "lib/epilogue.glsl"
#include "lib/matvec.glsl"

#define TN 8
#ifdef PUM_VEC
#define TM 1
#define NORM_BINDING 5
#include "lib/norm_ends.glsl"
#else
#define TM 8
#endif

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

// One tile: TM batch rows x TN weight rows in registers. Literal bounds, since software drivers keep arrays indexed by
// loops with specialised bounds in memory. TM 1 multiplies sums by the scales, TM 8 every weight, once for all batch
// rows.
void tile(uint s, uint apart, uint t0, uint lane, uint lanes, float x_scaled)
{
    uint last_t = a.rows - 1u; /* rows past the end repeat the last and are not stored */
    float acc[TM * TN];
    /* once before the loop: the drivers that this is for compute all that is in a loop in each round of it */
    uint k = a.k, chunks = whole_chunks(), w_at[TN], x_at[TM];
    [[unroll]] for (uint n = 0u; n < TN; n++) w_at[n] = q_row_at(weight_row(s, n, apart), k);
    [[unroll]] for (uint m = 0u; m < TM; m++) x_at[m] = x_row_at(min(t0 + m, last_t));
    [[unroll]] for (uint i = 0u; i < TM * TN; i++) acc[i] = 0.0;
    for (uint c = lane; c < chunks; c += lanes) {
        q_raw raw[TN];
        [[unroll]] for (uint n = 0u; n < TN; n++) raw[n] = w_chunk(w_at[n], k, c);
#ifdef PUM_VEC
        vec4 xv[Q_VECS];
        float x_sum[Q_RUNS];
        x_chunk(x_at[0], c, xv, x_sum);
        [[unroll]] for (uint n = 0u; n < TN; n++) acc[n] += q_dot(raw[n], xv, x_sum);
#else
#define TILE_STEP(i) \
        { \
            uint at = q_at(c, (i) / Q_RUN_VECS) + (i) % Q_RUN_VECS; \
            vec4 wv[TN]; \
            [[unroll]] for (uint n = 0u; n < TN; n++) wv[n] = q_weights(raw[n], i); \
            [[unroll]] for (uint m = 0u; m < TM; m++) { \
                vec4 xv = x_quad(x_at[m] + at); \
                [[unroll]] for (uint n = 0u; n < TN; n++) acc[m * TN + n] += dot(xv, wv[n]); \
            } \
        }
#if Q_VECS > 2
        /* a loop that stays a loop: written out, a block of 32 takes the driver's compiler a second */
        [[dont_unroll]] for (uint i = 0u; i < Q_VECS; i++) TILE_STEP(i)
#else
        Q_EACH(TILE_STEP)
#endif
#endif
#undef TILE_STEP
    }
#ifdef PUM_VEC
    if (lanes > 1u) {
        [[unroll]] for (uint i = 0u; i < TN; i++) acc[i] = set_sum(acc[i]);
    }
    float squares = 0.0;
#endif
    /* loops that stay loops, and pick their sum: TM * TN copies of the epilogue would take long to compile. Lanes that
     * share a tile each finish columns of their own. */
    uint rows = min(uint(TM), a.rows - t0), columns = glu() ? TN / 2u : TN;
    [[dont_unroll]] for (uint m = 0u; m < rows; m++) {
        float v[TN];
        [[unroll]] for (uint n = 0u; n < TN; n++) {
            v[n] = acc[n];
            [[unroll]] for (uint i = 1u; i < TM; i++) v[n] = m == i ? acc[i * TN + n] : v[n];
        }
        [[dont_unroll]] for (uint n = lane; n < columns; n += lanes) {
            uint to = s + n * apart;
            if (to >= a.n) break;
            float sum = v[0], up = v[TN / 2];
            [[unroll]] for (uint i = 1u; i < TN; i++) sum = n == i ? v[i] : sum;
            [[unroll]] for (uint i = 1u; i < TN / 2u; i++) up = n == i ? v[TN / 2u + i] : up;
#ifdef PUM_VEC
            sum *= x_scaled, up *= x_scaled;
#endif
            float stored = finish(t0 + m, to, sum, glu() ? a.scale * up : 1.0);
#ifdef PUM_VEC
            squares += norm_begin(t0, to, stored);
#endif
        }
    }
#ifdef PUM_VEC
    if (lanes > 1u) squares = set_sum(squares);
    if (lane == 0u) norm_part(t0, s, squares);
#endif
}

void main()
{
    a = pushed;
    // all tiles are divided among all sets, neighbours together: a wrong guess of the subgroup size costs time only
    bool share = TM == 1 && (a.epi & EPI_SHARE) != 0u;
    uint sets = share ? sets_per_workgroup() : WG, me = share ? set_index() : gl_LocalInvocationID.x;
    uint lane = share ? set_lane() : 0u, lanes = share ? set_lanes() : 1u, columns = glu() ? TN / 2u : TN;
    uint tiles = (a.n + columns - 1u) / columns;
    uint all_sets = gl_NumWorkGroups.x * sets, each = (tiles + all_sets - 1u) / all_sets;
    uint first = (gl_WorkGroupID.x * sets + me) * each, end = min(first + each, tiles);
#ifdef PUM_VEC
    for (uint t = 0u; t < a.rows; t++) {
        float scale = a.x_sums != 0u ? x_scale(t, lane, lanes) : 1.0;
        for (uint s = first; s < end; s++) tile(s, tiles, t, lane, lanes, scale);
    }
#else
    for (uint s = first; s < end; s++) tile(s * columns, 1u, gl_WorkGroupID.y * 8u, 0u, 1u, 1.0);
#endif
}
