#version 450
// SPDX-License-Identifier: Apache-2.0
// Chooses a token of every slot: top_k (logits >= the k-th largest; ties stay), top_p (the smallest set of largest
// probabilities, at temperature 1 among what top_k left, with mass >= top_p; ties stay), min_p (p >= min_p of the
// largest), temperature, one draw. Temperature <= 0 is arg-max. grid (slots).
//
// Thresholds are found on keys: the logit's bits mapped to unsigned order. top_k is a radix selection over the whole
// row; if at most LIST tokens survive, they are collected in index order and the rest happens on that list, else
// top_p is a bisection over the row. Sums run in a fixed order, so a seed gives the same token each time.
#extension GL_GOOGLE_include_directive : require
#ifdef PUM_SUB
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#endif
#include "args.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG = 64;
layout(push_constant) uniform push { pum_args_sample a; };
layout(set = 0, binding = 0) readonly buffer logits_words { float logits[]; };
layout(set = 0, binding = 1) buffer step_words { uint step_w[]; };
#define STEP_RW
#include "lib/step.glsl"
#include "lib/argmax.glsl"
#include "lib/philox.glsl"

const uint LIST = 512u;
shared uint hist[256];
shared uint counts[WG];
shared float masses[WG];
shared uint list_ids[LIST];
shared float list_values[LIST], list_masses[LIST];
shared uint chosen;
shared uint found;

uint key_of(float v)
{
    uint u = floatBitsToUint(v);
    if (u == 0x80000000u) u = 0u; /* the two zeros are equal */
    return (u & 0x80000000u) != 0u ? ~u : u | 0x80000000u;
}

// The k-th largest key of the row: four passes of 8 bits
uint kth_key(uint at, uint k)
{
    uint me = gl_LocalInvocationID.x, prefix = 0u;
    for (int shift = 24; shift >= 0; shift -= 8) {
        for (uint i = me; i < 256u; i += WG) hist[i] = 0u;
        barrier();
        for (uint i = me; i < a.cols; i += WG) {
            uint key = key_of(logit(at + i));
            if (shift == 24 || key >> (shift + 8) == prefix >> (shift + 8)) atomicAdd(hist[(key >> shift) & 255u], 1u);
        }
        barrier();
        if (me == 0u) {
            uint left = k, digit = 255u;
            while (digit > 0u && hist[digit] < left) left -= hist[digit--];
            found = digit;
            chosen = left;
        }
        barrier();
        prefix |= found << shift;
        k = chosen;
        barrier();
    }
    return prefix;
}

// Exclusive prefix of counts over invocations; the total in *all
uint prefix_count(uint mine, out uint all)
{
    uint me = gl_LocalInvocationID.x, before = 0u;
    counts[me] = mine;
    barrier();
    all = 0u;
    for (uint i = 0u; i < WG; i++) {
        if (i == me) before = all;
        all += counts[i];
    }
    barrier();
    return before;
}

float prefix_mass(float mine, out float all)
{
    uint me = gl_LocalInvocationID.x;
    float before = 0.0;
    masses[me] = mine;
    barrier();
    all = 0.0;
    for (uint i = 0u; i < WG; i++) {
        if (i == me) before = all;
        all += masses[i];
    }
    barrier();
    return before;
}

// Of a token `below` (<= 0) under the largest logit; the difference is taken before anything else is done to it
float weight(float below)
{
    return below < -87.0 ? 0.0 : exp(below);
}

// The survivors are in the list, n of them in index order
uint draw_from_list(uint n, float top, float temperature, float top_p, float min_logit, float u)
{
    uint me = gl_LocalInvocationID.x;
    float total = 0.0;
    for (uint i = 0u; i < n; i++) total += weight(list_values[i] - top);
    for (uint i = me; i < n; i += WG) {
        float v = list_values[i], above = 0.0;
        if (top_p < 1.0) {
            for (uint j = 0u; j < n; j++) above += list_values[j] > v ? weight(list_values[j] - top) : 0.0;
        }
        bool keep = v >= min_logit && (v == top || above < top_p * total);
        list_masses[i] = keep ? weight((v - top) / temperature) : 0.0;
    }
    barrier();
    if (me == 0u) {
        float sum = 0.0, run = 0.0;
        for (uint i = 0u; i < n; i++) sum += list_masses[i];
        chosen = 0u;
        for (uint i = 0u; i < n; i++) {
            run += list_masses[i];
            if (list_masses[i] > 0.0) chosen = list_ids[i]; /* the last kept one, should rounding leave none */
            if (run > u * sum) break;
        }
    }
    barrier();
    return chosen;
}

// Mass at temperature 1 of the tokens with key >= key
float mass_from(uint at, uint key, float top)
{
    float mine = 0.0, all;
    for (uint i = gl_LocalInvocationID.x; i < a.cols; i += WG) {
        float v = logit(at + i);
        if (key_of(v) >= key) mine += weight(v - top);
    }
    prefix_mass(mine, all);
    return all;
}

uint draw_from_row(uint at, uint floor_key, float top, float temperature, float top_p, float min_logit, float u)
{
    uint me = gl_LocalInvocationID.x;
    if (top_p < 1.0) { /* the largest key whose tokens and all above still have the mass */
        float want = top_p * mass_from(at, floor_key, top);
        uint key = 0u;
        for (int bit = 31; bit >= 0; bit--) {
            uint candidate = key | 1u << bit;
            if (candidate <= floor_key || mass_from(at, candidate, top) >= want) key = candidate;
        }
        floor_key = max(floor_key, key);
    }
    uint share = (a.cols + WG - 1u) / WG, first = min(me * share, a.cols), end = min(first + share, a.cols);
    float mine = 0.0, all;
    for (uint i = first; i < end; i++) {
        float v = logit(at + i);
        if (key_of(v) >= floor_key && v >= min_logit) mine += weight((v - top) / temperature);
    }
    float before = prefix_mass(mine, all);
    if (me == 0u) found = 0xffffffffu;
    barrier();
    if (mine > 0.0 && before + mine > u * all) atomicMin(found, me);
    barrier();
    if (found == me) {
        float run = before;
        for (uint i = first; i < end; i++) {
            float v = logit(at + i);
            if (key_of(v) < floor_key || v < min_logit) continue;
            run += weight((v - top) / temperature);
            chosen = i;
            if (run > u * all) break;
        }
    }
    barrier();
    return chosen;
}

void main()
{
    uint slot = gl_WorkGroupID.x, me = gl_LocalInvocationID.x, at = slot * a.x_stride;
    uint token = argmax(at, a.cols);
    float temperature = uintBitsToFloat(step_slot(a.slot_at, slot, SLOT_TEMPERATURE));
    float top = logit(at + token);
    if (temperature > 0.0 && top > -3.4e38) {
        float top_p = uintBitsToFloat(step_slot(a.slot_at, slot, SLOT_TOP_P));
        float min_p = uintBitsToFloat(step_slot(a.slot_at, slot, SLOT_MIN_P));
        uint top_k = step_slot(a.slot_at, slot, SLOT_TOP_K);
        uvec2 seed = uvec2(step_slot(a.slot_at, slot, SLOT_SEED_LO), step_slot(a.slot_at, slot, SLOT_SEED_HI));
        float u = float(philox(seed, uvec4(step_slot(a.slot_at, slot, SLOT_COUNTER), 0u, 0u, 0u)) >> 8) / 16777216.0;
        float min_logit = min_p > 0.0 ? min(top, top + log(min_p)) : -3.4e38; /* the best one always stays */
        if (top_p <= 0.0) top_p = 1.0;
        uint floor_key = top_k > 0u && top_k < a.cols ? kth_key(at, top_k) : 0u;
        uint share = (a.cols + WG - 1u) / WG, first = min(me * share, a.cols), end = min(first + share, a.cols);
        uint mine = 0u, n;
        for (uint i = first; i < end; i++) mine += key_of(logit(at + i)) >= floor_key ? 1u : 0u;
        uint to = prefix_count(mine, n);
        if (n <= LIST) {
            for (uint i = first; i < end; i++) {
                float v = logit(at + i);
                if (key_of(v) < floor_key) continue;
                list_ids[to] = i;
                list_values[to++] = v;
            }
            barrier();
            token = draw_from_list(n, top, temperature, top_p, min_logit, u);
        } else {
            token = draw_from_row(at, floor_key, top, temperature, top_p, min_logit, u);
        }
    }
    if (me == 0u) step_advance(a.slot_at, slot, token);
}
