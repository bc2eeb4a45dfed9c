// SPDX-License-Identifier: Apache-2.0
// What the mat-vec kernels share: how invocations divide the weight rows, and the sum over those that share a row.
// A set is ROWS weight rows handled by some lanes, which stride over the chunks of the inner dimension:
//   tier sub:  the lanes of a subgroup, whatever its size; GROUP is not used
//   tier base: GROUP invocations (a power of two), which sum through shared memory; 1: no sum and no barrier
// Sets go round the whole grid, so the result does not depend on its size: a wrong guess of the subgroup size costs
// time only.
#if defined(PUM_SUB) || defined(PUM_TEXEL)
#include "subgroup.glsl"
const bool SKIP_EMPTY = SUB_ALONE;
// lanes are counted: in a workgroup that is no multiple of the subgroup size, some are missing
uint set_lane() { return subgroupExclusiveAdd(1u); }
uint set_lanes() { return subgroupAdd(1u); }
uint set_index() { return sub_id(); }
uint sets_per_workgroup() { return sub_count(); }
float set_sum(float v) { return subgroupAdd(v); }
#else
uint set_lane() { return gl_LocalInvocationID.x % GROUP; }
uint set_lanes() { return GROUP; }
uint set_index() { return gl_LocalInvocationID.x / GROUP; }
uint sets_per_workgroup() { return max(WG / GROUP, 1u); }
const bool SKIP_EMPTY = GROUP == 1u;
shared float set_words[WG];
float set_sum(float v)
{
    if (GROUP == 1u) return v;
    uint me = gl_LocalInvocationID.x, lane = set_lane();
    set_words[me] = v;
    barrier();
    for (uint s = GROUP / 2u; s > 0u; s >>= 1) {
        if (lane < s) set_words[me] += set_words[me + s];
        barrier();
    }
    float sum = set_words[me - lane];
    barrier();
    return sum;
}
#endif
