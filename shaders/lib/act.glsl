// SPDX-License-Identifier: Apache-2.0
// Activation functions, by the ACT_* numbers of args.h. exp, tanh and erf are guarded
// so that no infinity arises; erf is a series near 0 and a continued fraction beyond (Abramowitz and Stegun, 7.1.6 and
// 7.1.14), good to 1e-7.
float safe_exp(float x)
{
    return exp(clamp(x, -87.0, 87.0));
}

float tanh_f(float x)
{
    // the driver's tanh may be exp-based and lose small values: odd series near 0
    float a = abs(x);
    if (a < 0.02) return x * (1.0 - x * x * (1.0 / 3.0));
    float e = safe_exp(-2.0 * a);
    float t = (1.0 - e) / (1.0 + e);
    return x < 0.0 ? -t : t;
}

float erf_f(float x)
{
    float a = abs(x), r;
    if (a < 2.0) {
        // erf(a) = 2/sqrt(pi) exp(-a^2) sum 2^n a^(2n+1) / (2n+1)!!: all terms positive, no cancellation
        float term = a, sum = a;
        for (int n = 1; n < 24; n++) {
            term *= 2.0 * a * a / float(2 * n + 1);
            sum += term;
        }
        r = 1.1283791670955126 * exp(-a * a) * sum;
    } else {
        // erfc(a) = exp(-a^2)/sqrt(pi) / (a + (1/2)/(a + 1/(a + (3/2)/(a + ...))))
        float f = a;
        for (int n = 16; n >= 1; n--) f = a + 0.5 * float(n) / f;
        r = 1.0 - (a > 6.0 ? 0.0 : 0.5641895835477563 * exp(-a * a) / f);
    }
    return x < 0.0 ? -r : r;
}

float activate(uint kind, float x)
{
    if (kind == ACT_SILU) return x < -87.0 ? 0.0 : x / (1.0 + exp(-x)); /* below, the result underflows */
    if (kind == ACT_GELU_TANH) return 0.5 * x * (1.0 + tanh_f(0.7978845608028654 * (x + 0.044715 * x * x * x)));
    if (kind == ACT_GELU_ERF) return 0.5 * x * (1.0 + erf_f(0.7071067811865476 * x));
    if (kind == ACT_RELU) return max(x, 0.0);
    if (kind == ACT_RELU2) return max(x, 0.0) * max(x, 0.0);
    if (kind == ACT_GELU_QUICK) return x < -50.0 ? 0.0 : x / (1.0 + exp(-1.702 * x));
    return x;
}
