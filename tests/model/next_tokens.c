/* SPDX-License-Identifier: Apache-2.0
 * Greedy tokens of several sequences at once, one step at a time (pumice_session_next). Usage:
 *     next_tokens MODEL COUNT IDS...
 * where each IDS is a sequence's prompt ("3,14,15"); prints a line of COUNT tokens for each. The
 * session is float all through and has 96 tokens for each sequence. */
#include <pumice/pumice.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_SEQUENCES = 4, MAX_TOKENS = 96 };

static size_t parse(const char *text, int32_t ids[MAX_TOKENS])
{
    size_t n = 0;
    char *end = NULL;
    for (; n < MAX_TOKENS; text = end + 1) {
        ids[n++] = (int32_t)strtol(text, &end, 10);
        if (*end != ',') break;
    }
    return n;
}

/* The last sequence is the first of a step: order is the caller's. */
static int continue_all(pumice_session *session, char **prompts, uint32_t n, long count)
{
    int32_t ids[MAX_TOKENS], out[MAX_SEQUENCES], tokens[MAX_SEQUENCES][MAX_TOKENS];
    uint32_t seqs[MAX_SEQUENCES];
    for (uint32_t i = 0; i < n; i++) {
        seqs[i] = n - 1 - i;
        if (pumice_session_sync(session, i, ids, parse(prompts[i], ids))) return 1;
    }
    for (long step = 0; step < count; step++) {
        if (pumice_session_next(session, seqs, n, NULL, out)) return 1;
        for (uint32_t i = 0; i < n; i++) tokens[seqs[i]][step] = out[i];
    }
    for (uint32_t i = 0; i < n; i++)
        for (long step = 0; step < count; step++)
            printf("%d%c", (int)tokens[i][step], step + 1 < count ? ' ' : '\n');
    return 0;
}

int main(int argc, char **argv)
{
    pumice_device *device = NULL;
    pumice_model *model = NULL;
    pumice_session *session = NULL;
    pumice_error err = { 0 };
    const uint32_t n = argc > 3 ? (uint32_t)(argc - 3) : 0;
    const long count = n ? strtol(argv[2], NULL, 10) : 0;
    pumice_model_params mp = { .struct_size = sizeof mp, .path = n ? argv[1] : NULL };
    pumice_session_params sp = { .struct_size = sizeof sp,
                                 .n_ctx_tokens = MAX_TOKENS,
                                 .n_sequences = n,
                                 .kv_type_k = PUMICE_KV_F32,
                                 .kv_type_v = PUMICE_KV_F32 };
    int failed = 1;

    if (n == 0 || n > MAX_SEQUENCES || count < 1 || count > MAX_TOKENS) {
        fprintf(stderr, "usage: next_tokens MODEL COUNT IDS...\n");
    } else if (pumice_device_create(NULL, &device, &err) ||
               pumice_model_load(device, &mp, &model, &err) ||
               pumice_session_create(model, &sp, &session, &err)) {
        fprintf(stderr, "%s\n", err.text);
    } else {
        failed = continue_all(session, argv + 3, n, count);
        if (failed) fprintf(stderr, "%s\n", pumice_session_error(session));
    }
    pumice_session_destroy(&session);
    pumice_model_destroy(&model);
    pumice_device_destroy(&device);
    return failed;
}
