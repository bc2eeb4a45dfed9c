// SPDX-License-Identifier: Apache-2.0
// The index of the largest logit of a row, the lowest on ties; NaN counts as the smallest. All invocations call it
// and get the result. Needs WG and logits[].
#ifdef PUM_SUB
#include "subgroup.glsl"
#endif
shared float argmax_values[WG];
shared uint argmax_ids[WG];

float logit(uint i)
{
    float v = logits[i];
    return isnan(v) ? -3.4e38 : clamp(v, -3.4e38, 3.4e38);
}

uint argmax(uint at, uint cols)
{
    uint me = gl_LocalInvocationID.x, best = 0xffffffffu;
    float top = -3.4e38;
    for (uint i = me; i < cols; i += WG) {
        float v = logit(at + i);
        if (best == 0xffffffffu || v > top) {
            top = v;
            best = i;
        }
    }
    uint parts = WG;
#ifdef PUM_SUB
    // one entry a subgroup: its largest logit, and the lowest index that has it
    float all_top = subgroupMax(top);
    best = subgroupMin(top == all_top ? best : 0xffffffffu);
    top = all_top;
    parts = sub_count();
    if (sub_lane() == 0u) {
        argmax_values[sub_id()] = top;
        argmax_ids[sub_id()] = best;
    }
#else
    argmax_values[me] = top;
    argmax_ids[me] = best;
#endif
    barrier();
    for (uint n = parts; n > 1u; n = (n + 1u) / 2u) {
        uint far = me + (n + 1u) / 2u;
        if (far < n) {
            float v = argmax_values[far];
            uint id = argmax_ids[far];
            if (id != 0xffffffffu && (argmax_ids[me] == 0xffffffffu || v > argmax_values[me]
                || (v == argmax_values[me] && id < argmax_ids[me]))) {
                argmax_values[me] = v;
                argmax_ids[me] = id;
            }
        }
        barrier();
    }
    return argmax_ids[0];
}
