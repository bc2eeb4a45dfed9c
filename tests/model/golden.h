/* SPDX-License-Identifier: Apache-2.0
 * What the tests of golden directories share: lists of ids, files of float32, each directory in
 * turn. */
#ifndef GOLDEN_H
#define GOLDEN_H

#include "testing.h" /* first: it asks for all of the system's functions */

#include <dirent.h>
#include <jansson.h>
#include <math.h>
#include <stdbool.h>

enum { MAX_IDS = 1024, MAX_DIRS = 256 };

typedef struct ids {
    int32_t data[MAX_IDS];
    size_t count;
} ids;

static inline ids read_ids(const json_t *list)
{
    ids out = { .count = json_array_size(list) };
    assert_true(json_is_array(list) && out.count <= MAX_IDS);
    for (size_t i = 0; i < out.count; i++) {
        out.data[i] = (int32_t)json_integer_value(json_array_get(list, i));
    }
    return out;
}

/* The caller frees it. */
static inline float *read_f32(const char *folder, const char *name, size_t count)
{
    char path[2 * TEST_PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "rb");
    float *data = malloc(count * sizeof *data);
    assert_non_null(f);
    assert_non_null(data);
    assert_int_equal(fread(data, sizeof *data, count, f), count);
    fclose(f);
    return data;
}

/* A callback of pumice_session_generate whose user is an ids. */
static inline int collect_token(void *user, int32_t token, const char *text, size_t bytes)
{
    ids *out = user;
    (void)text;
    (void)bytes;
    if (token >= 0 && out->count < MAX_IDS) out->data[out->count++] = token;
    return 0;
}

/* Empties the sequence and says what comes before the decoder's tokens: the encoder's input, or the
 * prefix. */
static inline void golden_begin(pumice_session *s, const json_t *test_case)
{
    assert_pumice_ok(s, pumice_session_clear(s, 0));
    if (json_object_get(test_case, "decoder_input_ids")) {
        ids input = read_ids(json_object_get(test_case, "input_ids"));
        assert_pumice_ok(s, pumice_session_encode(s, 0, input.data, input.count));
        return;
    }
    const json_t *prefix = json_object_get(test_case, "prefix_len_mask");
    int32_t n = prefix ? (int32_t)json_integer_value(prefix) : PUMICE_PREFIX_MODEL;
    assert_pumice_ok(s, pumice_session_set_prefix(s, 0, n));
}

/* Whether up to `most` tokens after the prompt are those of the case; prints the first that is not. Returns 0 or 1. */
static inline int golden_greedy(pumice_session *s, const char *name, const json_t *test_case, const ids *prompt,
                                size_t most)
{
    ids want = read_ids(json_object_get(test_case, "greedy")), got = { .count = 0 };
    if (want.count > most) want.count = most;
    pumice_generate_params p = { .struct_size = sizeof p,
                                 .max_tokens = (uint32_t)want.count,
                                 .ignore_eos = 1,
                                 .token = collect_token,
                                 .user = &got };
    uint32_t count;
    golden_begin(s, test_case);
    assert_pumice_ok(s, pumice_session_sync(s, 0, prompt->data, prompt->count));
    assert_pumice_ok(s, pumice_session_generate(s, 0, &p, &count));
    assert_int_equal(got.count, want.count);
    for (size_t i = 0; i < want.count; i++) {
        if (got.data[i] == want.data[i]) continue;
        print_message("%s: token %zu is %d, not %d\n", name, i, got.data[i], want.data[i]);
        return 1;
    }
    return 0;
}

static inline int golden_by_name(const void *a, const void *b) { return strcmp(a, b); }

/* Calls `check` for each directory of `root`, in order, with its path and name; returns the sum. */
static inline int golden_each(const char *root, void *user,
                              int (*check)(void *user, const char *folder, const char *name))
{
    static char names[MAX_DIRS][256];
    char folder[2 * TEST_PATH_BYTES];
    size_t n = 0;
    int bad = 0;
    DIR *dir = opendir(root);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (entry->d_name[0] == '.') continue;
        assert_true(n < MAX_DIRS);
        snprintf(names[n++], sizeof names[0], "%s", entry->d_name);
    }
    closedir(dir);
    assert_true(n > 0);
    qsort(names, n, sizeof names[0], golden_by_name);
    for (size_t i = 0; i < n; i++) {
        snprintf(folder, sizeof folder, "%s/%s", root, names[i]);
        bad += check(user, folder, names[i]);
    }
    return bad;
}

#endif
