// SPDX-License-Identifier: Apache-2.0
// What the mat-vec kernels share: how invocations divide the rows, and the reduction of a set's accumulators.
// A set is ROWS weight rows handled by GROUP lanes that stride over the chunks of the inner dimension.
//   tier sub:  the lanes are those of a subgroup, whatever its size; GROUP is what the host believes it to be and
//              only fixes the number of sets a workgroup has, WG / GROUP
//   tier base: GROUP lanes reduce through shared memory; with GROUP = 1 there is no reduction and no barrier
#ifdef PUM_SUB
uint set_lane() { return gl_SubgroupInvocationID; }
uint set_lanes() { return gl_SubgroupSize; }
uint set_first() { return gl_SubgroupID; }
uint set_stride() { return gl_NumSubgroups; }
float set_sum(float v) { return subgroupAdd(v); }
#else
shared float set_words[WG];
uint set_lane() { return gl_LocalInvocationID.x % GROUP; }
uint set_lanes() { return GROUP; }
uint set_first() { return gl_LocalInvocationID.x / GROUP; }
uint set_stride() { return WG / GROUP; }
float set_sum(float v)
{
    if (GROUP == 1u) return v;
    uint me = gl_LocalInvocationID.x;
    set_words[me] = v;
    barrier();
    for (uint s = GROUP / 2u; s > 0u; s >>= 1) {
        if (me % GROUP < s) set_words[me] += set_words[me + s];
        barrier();
    }
    float sum = set_words[me - me % GROUP];
    barrier();
    return sum;
}
#endif
