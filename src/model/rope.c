/* SPDX-License-Identifier: Apache-2.0
 * Rotary frequencies (Su et al., 2021) and every way of stretching them: linear, NTK, YaRN, Llama 3
 * and the file's own divisors all end up in one table, so that no kernel knows of scaling.
 * Frequencies are fractions of a turn in 64 bits: position times fraction, modulo 2^64, is exact
 * however long the context. Hence the arithmetic here is in pairs of doubles (Dekker, 1971), about
 * 106 bits, and the same on every platform. */
#include <math.h>
#include <stddef.h>

#include "model.h"

typedef struct pair {
    double hi, lo; /* the value is hi + lo; lo is at most half a unit of hi's last place */
} pair;

/* 1 / (2 pi) */
static const pair TURNS_PER_RADIAN = { 0x1.45f306dc9c883p-3, -0x1.6b01ec5417056p-57 };
static const double TWO_PI = 6.283185307179586;

static pair sum(double a, double b)
{
    double s = a + b, t = s - a;
    return (pair){ s, (a - (s - t)) + (b - t) };
}

static pair add(pair a, pair b)
{
    pair s = sum(a.hi, b.hi);
    return sum(s.hi, s.lo + (a.lo + b.lo));
}

static pair multiply(pair a, pair b)
{
    double p = a.hi * b.hi;
    double e = fma(a.hi, b.hi, -p) + (a.hi * b.lo + a.lo * b.hi);
    return sum(p, e);
}

static pair divide(pair a, double b)
{
    double q = a.hi / b;
    return sum(q, (fma(-q, b, a.hi) + a.lo) / b);
}

static pair power(pair x, uint32_t n)
{
    pair y = { 1.0, 0.0 };
    for (; n; n >>= 1) {
        if (n & 1) y = multiply(y, x);
        x = multiply(x, x);
    }
    return y;
}

/* x^(-1/n): one Newton step from the library's 53 bits, r' = r - r (x r^n - 1) / n */
static pair inverse_root(double x, uint32_t n)
{
    double r = pow(x, -1.0 / n);
    pair excess = add(multiply(power((pair){ r, 0.0 }, n), (pair){ x, 0.0 }), (pair){ -1.0, 0.0 });
    return sum(r, -r * excess.hi / n);
}

/* The nearest multiple of 2^-64 of a turn; whole turns are dropped. */
static uint64_t fraction(pair turns)
{
    double part = turns.hi - floor(turns.hi);
    double scaled = ldexp(part, 64), whole = floor(scaled);
    long long rest = llround(scaled - whole + ldexp(turns.lo, 64));
    return (uint64_t)whole + (uint64_t)rest; /* wraps round as turns do */
}

/* ---- what scaling does to the frequency of a pair ---- */

/* YaRN: pairs before `first` turn often enough in the original context to be left alone, those from
 * `last` on are interpolated, between them it is a ramp. */
typedef struct ramp {
    double first, last;
} ramp;

static ramp yarn_ramp(const pum_hparams *hp)
{
    /* pair (not whole) that makes beta turns within the original context */
    double per_log = hp->rot_dim / (2.0 * log((double)hp->rope_base));
    double fast = per_log * log(hp->rope.original_ctx / (hp->rope.beta_fast * TWO_PI));
    double slow = per_log * log(hp->rope.original_ctx / (hp->rope.beta_slow * TWO_PI));
    return (ramp){ fmax(floor(fast), 0.0), fmin(ceil(slow), hp->rot_dim - 1.0) };
}

static double yarn_keep(const pum_hparams *hp, uint32_t i)
{
    ramp r = yarn_ramp(hp);
    double y = (i - r.first) / fmax(r.last - r.first, 0.001);
    return (1.0 - fmin(fmax(y, 0.0), 1.0)) * hp->rope.ext_factor;
}

/* Llama 3: short waves are kept, those longer than the original context / low are interpolated. */
static double llama3_keep(const pum_hparams *hp, double inverse)
{
    double low = hp->rope.low_freq_factor, high = hp->rope.high_freq_factor;
    double turns = hp->rope.original_ctx * inverse / TWO_PI; /* in the original context */
    return fmin(fmax((turns - low) / (high - low), 0.0), 1.0);
}

/* f * keep + f / factor * (1 - keep) */
static pair interpolate(pair f, double factor, double keep)
{
    pair kept = multiply(f, (pair){ keep, 0.0 });
    return add(kept, multiply(divide(f, factor), sum(1.0, -keep)));
}

/* The nearest number of half precision, by way of single precision as the original has it. */
static pair half_precision(pair f)
{
    int exponent;
    double x = (double)(float)f.hi;
    frexp(x, &exponent);
    int unit = exponent > -14 ? exponent - 11 : -24; /* of the last place; below 2^-14 there are no more */
    return (pair){ ldexp(rint(ldexp(x, -unit)), unit), 0.0 };
}

void pum_rope_frequencies(const pum_hparams *hp, const float *factors, uint32_t *out_words,
                          float *out_scale)
{
    uint32_t pairs = hp->rot_dim / 2;
    double factor = hp->rope.factor;
    if (pairs > 0) {
        pair step = inverse_root(hp->rope_base, pairs), inverse = { 1.0, 0.0 };
        if (hp->rope.kind == PUM_ROPE_NTK && pairs > 1) {
            /* base * factor^(n / (n - 2)), n = 2 pairs, to the power -1/pairs */
            step = multiply(step, inverse_root(factor, pairs - 1));
        }
        for (uint32_t i = 0; i < pairs; i++) {
            pair f = factors ? divide(inverse, factors[i]) : inverse;
            if (hp->rope.kind == PUM_ROPE_LINEAR) f = divide(f, factor);
            if (hp->rope.kind == PUM_ROPE_YARN) f = interpolate(f, factor, yarn_keep(hp, i));
            if (hp->rope.kind == PUM_ROPE_LLAMA3 && !factors) { /* else it is in the divisors */
                f = interpolate(f, factor, llama3_keep(hp, inverse.hi));
            }
            if (hp->rope.f16) f = half_precision(f);
            uint64_t turns = fraction(multiply(f, TURNS_PER_RADIAN));
            out_words[2 * i] = (uint32_t)turns;
            out_words[2 * i + 1] = (uint32_t)(turns >> 32);
            inverse = multiply(inverse, step);
        }
    }
    double scale = hp->rope.attn_factor;
    if (hp->rope.kind == PUM_ROPE_YARN && hp->rope.ext_factor != 0.0f && factor > 1.0) {
        scale *= 1.0 + 0.1 * log(factor);
    }
    *out_scale = (float)scale;
}
