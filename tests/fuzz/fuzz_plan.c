/* SPDX-License-Identifier: Apache-2.0
 * Random graph -> plan -> plan_check on random devices. Under libFuzzer (-DPUM_LIBFUZZER) the input
 * is the seed and the device's limits; as a plain program it runs a fixed number of seeds and stops
 * at the first unsound plan. usage: fuzz_plan [ignored] [count] [first seed] */
#include <stdio.h>
#include <stdlib.h>

#include "random_graph.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* 0 = sound, 1 = unsound, 2 = refused with a sentence */
static int plan_one(uint64_t seed, const pum_caps *caps)
{
    random_graph r;
    pum_placement weights = { 0 }, kv = { 0 };
    pum_plan plan = { 0 };
    pum_tuning tuning;
    pumice_error err = { 0 };
    random_graph_make(&r, seed);
    pum_tuning_for(caps, &tuning);
    pum_plan_options options = { .no_fusion = seed & 1, .q8_activations = seed & 8,
                                 .no_reuse = seed & 2,
                                 .max_submit_ns = seed % 100000 };
    pumice_status status = pum_placement_make(r.weights, r.n_weights, caps, &weights, &err);
    if (status == PUMICE_OK) status = pum_placement_make(r.kv, r.n_kv, caps, &kv, &err);
    if (status == PUMICE_OK) {
        status = pum_plan_make(&r.graph, caps, &tuning, &weights, &kv, &options, &plan, &err);
    }
    if (status == PUMICE_OK) status = pum_plan_check(&plan, caps, &weights, &kv, &err);
    pum_plan_free(&plan);
    pum_placement_free(&weights);
    pum_placement_free(&kv);
    pum_graph_free(&r.graph);
    if (status == PUMICE_OK) return 0;
    if (status == PUMICE_ERROR_UNSUPPORTED && err.text[0]) return 2;
    fprintf(stderr, "seed %llu: %s\n", (unsigned long long)seed, err.text);
    return 1;
}

static pum_caps device(uint64_t bits)
{
    pum_caps caps;
    size_t count = 0;
    while (pum_caps_profile_name(count)) count++;
    pum_caps_profile(pum_caps_profile_name(bits % count), &caps);
    if (bits & 256) caps.bits &= ~PUM_CAP_SUBGROUP;
    if (bits & 512) caps.max_buffer_range_bytes = 1ull << (14 + (bits >> 12) % 14);
    if (bits & 1024) caps.max_allocation_bytes = 1ull << (16 + (bits >> 16) % 14);
    if (bits & 2048) caps.offset_align_bytes = 1u << (bits >> 20) % 9;
    return caps;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t words[2] = { 0 };
    if (size > sizeof words) size = sizeof words;
    memcpy(words, data, size);
    pum_caps caps = device(words[1]);
    if (plan_one(words[0], &caps) == 1) abort();
    return 0;
}

#ifndef PUM_LIBFUZZER
int main(int argc, char **argv)
{
    uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 10) : 2000;
    uint64_t seed = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
    uint64_t results[3] = { 0 };
    for (uint64_t i = 0; i < count; i++, seed++) {
        pum_caps caps = device(seed * 0x9e3779b97f4a7c15ull >> 20);
        results[plan_one(seed, &caps)]++;
    }
    printf("%llu graphs planned, %llu refused, %llu unsound\n", (unsigned long long)results[0],
           (unsigned long long)results[2], (unsigned long long)results[1]);
    return results[1] != 0 || results[0] * 2 < count;
}
#endif
