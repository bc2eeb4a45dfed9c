#version 450
// SPDX-License-Identifier: Apache-2.0
// Reads memory as fast as it comes, for `pumice bench --roof`: y[i] = the exclusive or of all words that invocation i
// reads. A workgroup reads one range of WG * rounds * 8 vectors. grid (workgroups)
#extension GL_GOOGLE_include_directive : require
#include "args.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG = 64;
layout(push_constant) uniform push { pum_args_roof a; };
#ifdef PUM_TEXEL
layout(set = 0, binding = 0) uniform usamplerBuffer x_t;
#define X(i) texelFetch(x_t, int(i))
#else
layout(set = 0, binding = 0) readonly buffer x_words { uvec4 x[]; };
#define X(i) x[i]
#endif
layout(set = 0, binding = 1) writeonly buffer y_words { uint y[]; };

void main()
{
    uint at = gl_WorkGroupID.x * WG * a.rounds * ROOF_LOADS + gl_LocalInvocationID.x;
    uvec4 sum = uvec4(0u);
    for (uint i = 0u; i < a.rounds; i++) {
        sum ^= X(at) ^ X(at + WG) ^ X(at + 2u * WG) ^ X(at + 3u * WG);
        sum ^= X(at + 4u * WG) ^ X(at + 5u * WG) ^ X(at + 6u * WG) ^ X(at + 7u * WG);
        at += ROOF_LOADS * WG;
    }
    y[gl_GlobalInvocationID.x] = sum.x ^ sum.y ^ sum.z ^ sum.w;
}
