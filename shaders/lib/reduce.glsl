// SPDX-License-Identifier: Apache-2.0
// Reductions over the workgroup; every invocation must call them and gets the result. WG may be any number.
// Needs WG and, in tier sub, the subgroup extensions. The order of sums depends on the device alone.
shared float reduce_words[WG];

#ifdef PUM_SUB
#include "subgroup.glsl"
#define REDUCE(name, sub, merge) \
    float name(float v) \
    { \
        v = sub(v); \
        uint parts = sub_count(); \
        if (parts == 1u) return v; \
        if (sub_lane() == 0u) reduce_words[sub_id()] = v; \
        barrier(); \
        v = reduce_words[0]; \
        for (uint i = 1u; i < parts; i++) v = merge(v, reduce_words[i]); \
        barrier(); \
        return v; \
    }
#else
#define REDUCE(name, sub, merge) \
    float name(float v) \
    { \
        uint me = gl_LocalInvocationID.x; \
        reduce_words[me] = v; \
        barrier(); \
        for (uint n = WG; n > 1u; n = (n + 1u) / 2u) { \
            uint far = me + (n + 1u) / 2u; \
            if (far < n) reduce_words[me] = merge(reduce_words[me], reduce_words[far]); \
            barrier(); \
        } \
        v = reduce_words[0]; \
        barrier(); \
        return v; \
    }
#endif

float reduce_plus(float p, float q) { return p + q; }
REDUCE(reduce_sum, subgroupAdd, reduce_plus)
REDUCE(reduce_max, subgroupMax, max)
