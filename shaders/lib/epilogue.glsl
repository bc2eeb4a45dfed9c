// SPDX-License-Identifier: Apache-2.0
// What the matmul families do with a finished sum v of batch row t and weight row n: scale, bias, activation, residual,
// store. Returns what was stored. The factor is 1, or of a gated MLP (v its gate) the sum of up, scaled.
// Needs the specialisation constant ACT, the arguments `a` and the bindings 2, 3 and 4, which it declares.
#include "act.glsl"
layout(set = 0, binding = 2) readonly buffer bias_words { float bias[]; };
layout(set = 0, binding = 3) readonly buffer res_words { float res[]; };
layout(set = 0, binding = 4) writeonly buffer y_words { float y[]; };

#ifdef PUM_TEXEL
float activated(float v) { return (a.epi & EPI_ACT) != 0u ? activate(ACT, v) : v; }
#else
float activated(float v) { return activate(ACT, v); }
#endif

float finish(uint t, uint n, float v, float factor)
{
    uint col = a.y_first + n;
    v *= a.scale;
    if ((a.epi & EPI_BIAS) != 0u) v += bias[col];
    v = activated(v) * factor;
    if ((a.epi & EPI_RESIDUAL) != 0u) v += res[t * a.res_stride + col];
    y[t * a.y_stride + col] = v;
    return v;
}
