// SPDX-License-Identifier: Apache-2.0
// The two ends of an RMSNorm that has no kernel of its own (pum_args_matmul, args.h). Needs `a`, input.glsl, y and
// matvec.glsl, and the number of the binding of the norm's weights as NORM_BINDING.
layout(set = 0, binding = NORM_BINDING) readonly buffer norm_words { float norm_w[]; };

// Batch row t's 1 / sqrt(mean(x^2) + eps), for all lanes that share a set
float x_scale(uint t, uint lane, uint lanes)
{
    uint at = (t * a.x_stride + X_FIRST + a.k) >> 2;
    vec4 part = vec4(0.0);
    for (uint i = lane; 4u * i < a.x_sums; i += lanes) part += x_quad(at + i);
    float sum = dot(part, vec4(1.0));
    if (lanes > 1u) sum = set_sum(sum);
    return 1.0 / sqrt(sum / float(a.k) + a.eps);
}

// v is y's column n of batch row t: what the norm behind it gets. Returns what it adds to the sum of squares.
float norm_begin(uint t, uint n, float v)
{
    if (a.norm_at == 0u) return 0.0;
    y[t * a.y_stride + a.norm_at + n] = v * norm_w[n];
    return v * v;
}

// The sum of the squares of set `part`
void norm_part(uint t, uint part, float sum)
{
    if (a.norm_at != 0u) y[t * a.y_stride + 2u * a.norm_at + part] = sum;
}
