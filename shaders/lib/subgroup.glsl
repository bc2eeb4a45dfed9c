// SPDX-License-Identifier: Apache-2.0
// What kernels of the tiers with subgroups ask about them, and, for tests, subgroups of any size on any device: with
// PUM_EMULATE those of SUB_SIZE lanes, one after the other over the workgroup, that work through shared memory. Every
// operation is then a barrier, so all invocations of the workgroup must meet it: no subgroup may leave a loop or a
// branch that others stay in (SUB_ALONE). Needs WG and, but for PUM_EMULATE, the extensions.
#ifndef SUBGROUP_GLSL
#define SUBGROUP_GLSL
#ifdef PUM_EMULATE
const bool SUB_ALONE = false;
layout(constant_id = 99) const uint SUB_SIZE = 32; // no constant of a plan's: tests write their size into the code
uint sub_lane() { return gl_LocalInvocationID.x % SUB_SIZE; }
uint sub_id() { return gl_LocalInvocationID.x / SUB_SIZE; }
uint sub_count() { return (WG + SUB_SIZE - 1u) / SUB_SIZE; }

shared uint sub_uints[WG];
shared float sub_floats[WG];
shared vec4 sub_vec4s[WG];
// The lanes of my subgroup: the last may have fewer
uint sub_first() { return sub_id() * SUB_SIZE; }
uint sub_end() { return min(sub_first() + SUB_SIZE, WG); }

// Lanes are merged as a tree does it, in pairs of pairs: neighbours first. What has no partner stays as it is.
#define SUB_REDUCE(name, type, words, merge) \
    type name(type v) \
    { \
        uint me = gl_LocalInvocationID.x; \
        words[me] = v; \
        barrier(); \
        for (uint m = 1u; m < SUB_SIZE; m *= 2u) { \
            if (sub_lane() % (2u * m) == 0u && me + m < sub_end()) words[me] = merge(words[me], words[me + m]); \
            barrier(); \
        } \
        v = words[sub_first()]; \
        barrier(); \
        return v; \
    }
#define SUB_SHUFFLE_XOR(type, words) \
    type sub_shuffle_xor(type v, uint mask) \
    { \
        words[gl_LocalInvocationID.x] = v; \
        barrier(); \
        v = words[sub_first() + (sub_lane() ^ mask)]; \
        barrier(); \
        return v; \
    }
uint sub_plus(uint p, uint q) { return p + q; }
float sub_plus(float p, float q) { return p + q; }
SUB_REDUCE(sub_add, uint, sub_uints, sub_plus)
SUB_REDUCE(sub_add, float, sub_floats, sub_plus)
SUB_REDUCE(sub_min, uint, sub_uints, min)
SUB_REDUCE(sub_max, float, sub_floats, max)
SUB_SHUFFLE_XOR(float, sub_floats)
SUB_SHUFFLE_XOR(vec4, sub_vec4s)

uint sub_exclusive_add(uint v)
{
    uint me = gl_LocalInvocationID.x, sum = 0u;
    sub_uints[me] = v;
    barrier();
    for (uint i = sub_first(); i < me; i++) sum += sub_uints[i];
    barrier();
    return sum;
}

#define subgroupAdd sub_add
#define subgroupMin sub_min
#define subgroupMax sub_max
#define subgroupExclusiveAdd sub_exclusive_add
#define subgroupShuffleXor sub_shuffle_xor
#define subgroupMemoryBarrierShared memoryBarrierShared
#define subgroupBarrier barrier
#else
const bool SUB_ALONE = true;
#define sub_lane() gl_SubgroupInvocationID
#define sub_id() gl_SubgroupID
// lavapipe (Mesa 22.3) rounds gl_NumSubgroups down; elsewhere gl_SubgroupSize may be larger than the size in use
#define sub_count() max(gl_NumSubgroups, (WG + gl_SubgroupSize - 1u) / gl_SubgroupSize)
#endif
#endif
