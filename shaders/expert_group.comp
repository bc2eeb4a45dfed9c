#version 450
// SPDX-License-Identifier: Apache-2.0
// Puts pairs in the order of their experts and cuts them into tiles: one workgroup, an invocation for each expert
// (and WG after it), so the order never depends on luck. EXPERTS: a constant, for shared memory.
#extension GL_GOOGLE_include_directive : require
#include "args.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG = 64;
layout(constant_id = 1) const uint EXPERTS = 8;
layout(push_constant) uniform push { pum_args_expert_group a; };
layout(set = 0, binding = 0) readonly buffer x_words { float x[]; };
layout(set = 0, binding = 1) writeonly buffer y_words { uint y[]; };

shared uint counts[EXPERTS];

uint expert_of(uint pair)
{
    return uint(x[pair / a.used * a.x_stride + pair % a.used]);
}

void main()
{
    uint me = gl_LocalInvocationID.x, pairs = a.rows * a.used;
    for (uint e = me; e < EXPERTS; e += WG) {
        uint n = 0u;
        for (uint p = 0u; p < pairs; p++) {
            if (expert_of(p) == e) n++;
        }
        counts[e] = n;
    }
    barrier();
    uint all = 0u;
    for (uint i = 0u; i < EXPERTS; i++) all += (counts[i] + EXPERT_TILE - 1u) / EXPERT_TILE;
    for (uint e = me; e < EXPERTS; e += WG) {
        uint at = 0u, tile = 0u;
        for (uint i = 0u; i < e; i++) {
            at += counts[i];
            tile += (counts[i] + EXPERT_TILE - 1u) / EXPERT_TILE;
        }
        for (uint done = 0u; done < counts[e]; done += EXPERT_TILE) {
            uint to = pairs + 3u * tile;
            y[to] = e;
            y[to + 1u] = at + done;
            y[to + 2u] = min(counts[e] - done, EXPERT_TILE);
            tile++;
        }
        for (uint p = 0u; p < pairs; p++) {
            if (expert_of(p) == e) y[at++] = p;
        }
    }
    for (uint t = all + me; t < a.tiles; t += WG) {
        for (uint i = 0u; i < 3u; i++) y[pairs + 3u * t + i] = 0u;
    }
}
