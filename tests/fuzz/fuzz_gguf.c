/* SPDX-License-Identifier: Apache-2.0
 * Damaged GGUF files: whatever the bytes, opening them, walking all they hold and making a
 * tokenizer of them either works or is refused with a sentence. Two ways to run it: fuzz_gguf
 * BASE.gguf [SEED [COUNT]]   COUNT (2000) repeatable mutations of a good file and of two small
 *                                        vocabularies, as a plain test
 *   -DPUM_LIBFUZZER                      as a libFuzzer target */
#include "api.h"
#include "session.h"
#include "vocab_image.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int pum_fuzz_gguf(const uint8_t *data, size_t size); /* 1 if the file was accepted */

static size_t n_planned; /* models that could be planned */
static volatile uint64_t sink; /* what is read must not be optimised away */

static void require(bool ok, const char *what)
{
    if (ok) return;
    fprintf(stderr, "fuzz_gguf: %s\n", what);
    abort();
}

static void walk_value(const pum_gguf_value *v)
{
    const uint8_t *cursor = NULL;
    uint64_t index = 0, sum = 0;
    pum_str s;
    int64_t i;
    double d;
    while (pum_gguf_next_str(v, &cursor, &index, &s))
        sum += s.count ? (uint8_t)s.data[s.count - 1] : 0;
    for (uint64_t k = 0; v->type == PUM_GGUF_ARRAY && k < v->count && k < 100000; k++) {
        if (pum_gguf_item_i64(v, k, &i)) sum += (uint64_t)i;
        if (pum_gguf_item_f64(v, k, &d)) sum += d > 0;
    }
    sink += sum;
}

static void walk(const pum_gguf *g)
{
    char key[128];
    for (size_t i = 0; i < pum_gguf_kv_count(g); i++) {
        pum_str k = pum_gguf_kv_key(g, i), s;
        uint32_t u;
        int32_t n;
        uint64_t w;
        float f;
        bool b;
        walk_value(pum_gguf_kv_at(g, i));
        if (k.count >= sizeof key) continue;
        memcpy(key, k.data, k.count);
        key[k.count] = '\0';
        require(pum_gguf_find(g, key) == pum_gguf_kv_at(g, i), "a key is not found");
        sink += pum_gguf_u32(g, key, &u) + pum_gguf_i32(g, key, &n) + pum_gguf_u64(g, key, &w) +
                pum_gguf_f32(g, key, &f) + pum_gguf_bool(g, key, &b);
        if (pum_gguf_str(g, key, &s) && s.count) sink += (uint8_t)s.data[s.count - 1];
    }
    for (size_t i = 0; i < pum_gguf_tensor_count(g); i++) {
        const pum_gguf_tensor *t = pum_gguf_tensor_at(g, i);
        require(t->bytes > 0, "an empty tensor");
        sink += t->data[0] + t->data[t->bytes - 1];
    }
}

static void use_tokenizer(const pum_gguf *g)
{
    static const char text[] =
        "Once upon a time </s> <|im_end|>\n\xf0\x9f\x8c\x8b caf\xc3\xa9 \xff 123  ";
    pum_tokenizer *t = NULL;
    pum_tokens tokens = { 0 };
    pum_text back = { 0 };
    pum_text_stream stream = { 0 };
    pumice_error err = { 0 };
    pumice_status status = pum_tokenizer_create(g, &t, &err);
    require((status == PUMICE_OK) == (t != NULL), "a tokenizer and a failure");
    require(status == PUMICE_OK || err.text[0], "a failure without a sentence");
    if (!t) return;
    for (uint32_t flags = 0; flags < 4; flags++) {
        pum_tokenizer_encode(t, text, sizeof text - 1, flags, &tokens, NULL);
    }
    bool first = true;
    for (size_t i = 0; i < tokens.count; i++) {
        require(pum_tokenizer_decode(t, tokens.data[i], &first, true, &back) == PUMICE_OK,
                "a token out of range");
        pum_text_stream_push(&stream, t, tokens.data[i], &back);
        sink += pum_tokenizer_ends(t, tokens.data[i]);
    }
    pum_text_stream_finish(&stream, &back);
    pum_array_free(&tokens);
    pum_text_free(&back);
    pum_tokenizer_destroy(&t);
}

/* As far as a model gets without a device: hyper-parameters, weights, placement, graph, plan, and the proof of it. */
static void plan_model(const pum_gguf *g)
{
    pumice_error err = { 0 };
    pum_model_def def = { 0 };
    pum_placement weights = { 0 }, kv = { 0 };
    pum_plan plan = { 0 };
    pum_caps caps;
    pum_tuning tuning;
    pum_session_size size;
    pumice_session_params params = { .struct_size = sizeof params, .n_batch_tokens = 16 };
    const pum_pass_key key = { .rows = 4, .n_slots = 1, .one_sequence = true, .head = PUM_HEAD_SLOTS,
                               .sampler = PUM_SAMPLER_CHAIN };
    pum_caps_profile("minimal", &caps);
    pum_tuning_for(&caps, &tuning);
    pumice_status status = pum_model_def_load(g, &def, &err);
    if (status == PUMICE_OK) status = pum_session_size_make(&def, &params, &size, &err);
    if (status == PUMICE_OK) status = pum_weights_place(&def, &caps, false, &weights, &err);
    if (status == PUMICE_OK) status = pum_kv_place(&def, &caps, size.kv_k, size.kv_v, size.pages, &kv, &err);
    if (status == PUMICE_OK) {
        status = pum_pass_plan(&def, &size, &caps, &tuning, &weights, &kv, NULL, &key, &plan, &err);
    }
    if (status == PUMICE_OK) status = pum_plan_check(&plan, &caps, &weights, &kv, &err);
    require(status == PUMICE_OK || err.text[0], "a refusal without a sentence");
    require(status != PUMICE_ERROR_INTERNAL, err.text);
    n_planned += status == PUMICE_OK;
    for (size_t i = 0; i < def.weights.count && status == PUMICE_OK; i++) { /* every byte that would be uploaded */
        const pum_weight *w = &def.weights.data[i];
        const uint8_t *bytes = w->data;
        for (uint64_t k = 0; k < w->rows * w->row_bytes; k += 509) sink += bytes[k];
    }
    pum_plan_free(&plan);
    pum_placement_free(&weights);
    pum_placement_free(&kv);
    pum_model_def_free(&def);
}

int pum_fuzz_gguf(const uint8_t *data, size_t size)
{
    pum_gguf *g = NULL;
    pumice_error err = { 0 };
    pumice_status status = pum_gguf_open_memory(data, size, "fuzz", &g, &err);
    require((status == PUMICE_OK) == (g != NULL), "a file and a failure");
    require(status == PUMICE_OK || err.text[0], "a failure without a sentence");
    if (g) {
        walk(g);
        use_tokenizer(g);
        plan_model(g);
    }
    pum_gguf_close(&g);
    return status == PUMICE_OK;
}

#ifdef PUM_LIBFUZZER

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pum_fuzz_gguf(data, size);
    return 0;
}

#else

static uint64_t next_random(uint64_t *state) /* SplitMix64 */
{
    uint64_t z = *state += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

/* Where the interesting bytes are: the counts, every length and type of the header, as far as it
 * goes. */
typedef struct layout {
    PUM_ARRAY(size_t) numbers; /* positions of 8-byte counts, lengths, dimensions and offsets */
    PUM_ARRAY(size_t) types;   /* positions of 4-byte type numbers */
    PUM_ARRAY(size_t) values;  /* where metadata values begin */
    size_t header_bytes;
} layout;

static layout find_layout(const uint8_t *data, size_t size)
{
    layout l = { 0 };
    pum_gguf *g = NULL;
    pumice_error err = { 0 };
    if (pum_gguf_open_memory(data, size, "base", &g, &err) != PUMICE_OK) {
        fprintf(stderr, "%s\n", err.text);
        exit(2);
    }
    (void)pum_array_push(&l.numbers, 8);
    (void)pum_array_push(&l.numbers, 16);
    for (size_t i = 0; i < pum_gguf_kv_count(g); i++) {
        pum_str key = pum_gguf_kv_key(g, i);
        const pum_gguf_value *v = pum_gguf_kv_at(g, i);
        size_t at = (size_t)((const uint8_t *)key.data - data), end = at + key.count;
        (void)pum_array_push(&l.numbers, at - 8);
        (void)pum_array_push(&l.types, end);
        (void)pum_array_push(&l.values, (size_t)(v->data - data));
        if (v->type == PUM_GGUF_STRING || v->type == PUM_GGUF_ARRAY) {
            (void)pum_array_push(&l.numbers,
                                 (size_t)(v->data - data) - (v->type == PUM_GGUF_ARRAY ? 8 : 0));
        }
        if (v->type == PUM_GGUF_ARRAY) {
            (void)pum_array_push(&l.types, (size_t)(v->data - data) - 12);
            if (v->item_type == PUM_GGUF_STRING)
                (void)pum_array_push(&l.numbers, (size_t)(v->data - data));
        }
    }
    for (size_t i = 0; i < pum_gguf_tensor_count(g); i++) {
        const pum_gguf_tensor *t = pum_gguf_tensor_at(g, i);
        size_t at = (size_t)((const uint8_t *)t->name.data - data), dims = at + t->name.count;
        (void)pum_array_push(&l.numbers, at - 8);
        (void)pum_array_push(&l.types, dims);
        for (uint32_t d = 0; d < t->n_dims; d++) (void)pum_array_push(&l.numbers, dims + 4 + 8 * d);
        (void)pum_array_push(&l.types, dims + 4 + 8 * t->n_dims);
        (void)pum_array_push(&l.numbers, dims + 8 + 8 * t->n_dims);
        l.header_bytes = dims + 16 + 8 * t->n_dims;
    }
    if (l.header_bytes == 0) l.header_bytes = size;
    pum_gguf_close(&g);
    return l;
}

static void put(uint8_t *data, size_t size, size_t at, uint64_t v, size_t bytes)
{
    for (size_t i = 0; i < bytes && at + i < size; i++) data[at + i] = (uint8_t)(v >> 8 * i);
}

static uint64_t odd_number(uint64_t *r, size_t size)
{
    static const uint64_t odd[] = { 0,
                                    1,
                                    2,
                                    3,
                                    7,
                                    8,
                                    31,
                                    33,
                                    255,
                                    65535,
                                    1u << 31,
                                    UINT32_MAX,
                                    1ull << 32,
                                    1ull << 61,
                                    INT64_MAX,
                                    1ull << 63,
                                    UINT64_MAX - 31,
                                    UINT64_MAX - 7,
                                    UINT64_MAX };
    uint64_t x = next_random(r), k = x % (PUM_COUNT(odd) + 3);
    if (k < PUM_COUNT(odd)) return odd[k];
    return k == PUM_COUNT(odd)       ? x >> 32 & 0xff
           : k == PUM_COUNT(odd) + 1 ? size - (x >> 32) % 64
                                     : next_random(r);
}

/* Changes the copy in one way; returns its new size. */
static size_t mutate(uint8_t *data, size_t size, const layout *l, uint64_t *r)
{
    uint64_t x = next_random(r), way = x % 12;
    size_t number = l->numbers.data[next_random(r) % l->numbers.count];
    size_t type = l->types.data[next_random(r) % l->types.count],
           anywhere = (size_t)(next_random(r) % l->header_bytes);
    switch (way) {
    case 0: /* bits of the header */
        for (uint64_t n = 1 + (x >> 8) % 8; n; n--)
            data[next_random(r) % l->header_bytes] ^= (uint8_t)(1 << n % 8);
        return size;
    case 1: /* cut off, mostly within the header */
        return (size_t)(next_random(r) % ((x >> 8) % 4 ? l->header_bytes : size));
    case 2:
    case 3: /* a count, a length, a dimension or an offset */
        put(data, size, number, odd_number(r, size), 8);
        return size;
    case 4: /* a type or a number of dimensions */
        put(data, size, type, (x >> 8) % 2 ? (x >> 16) % 42 : next_random(r), 4);
        return size;
    case 5: /* one number or type in place of another: overlaps, swapped types, doubled names */
        memmove(data + number, data + l->numbers.data[(x >> 8) % l->numbers.count], 8);
        memmove(data + type, data + l->types.data[(x >> 24) % l->types.count], 4);
        return size;
    case 6: /* any 8 bytes */
        put(data, size, anywhere, next_random(r), 8);
        return size;
    case 7: /* the bytes of one place in another */
        for (size_t i = 0, from = (size_t)(next_random(r) % l->header_bytes); i < 40; i++) {
            if (anywhere + i < size && from + i < size) data[anywhere + i] = data[from + i];
        }
        return size;
    case 8: /* a count that differs by little */
        data[number] = (uint8_t)(data[number] + (x >> 8) % 5 - 2);
        return size;
    default: { /* a value: most such files are still well-formed, so that the tokenizer sees them */
        size_t at = l->values.data[(x >> 8) % l->values.count];
        uint64_t far = next_random(r) % (way == 10 ? 64 : 4096);
        if (way == 9) put(data, size, at, odd_number(r, size), 4);
        else put(data, size, at + (size_t)far, next_random(r), 1 + x % 3);
        return size;
    }
    }
}

/* `count` mutations of one good image, and the image itself. */
static void run(const char *name, const uint8_t *base, size_t size, uint64_t seed, uint64_t count)
{
    size_t opened = 0;
    layout l = find_layout(base, size);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t r = seed * 1000003 + i;
        uint8_t *copy =
            malloc(size + 1); /* its own block each time: reading past its end is seen */
        require(copy != NULL, "no memory");
        memcpy(copy, base, size);
        size_t n = size;
        for (uint64_t k = 1 + next_random(&r) % 3; k && n == size; k--)
            n = mutate(copy, size, &l, &r);
        uint8_t *exact = realloc(copy, n ? n : 1);
        opened += (size_t)pum_fuzz_gguf(exact, n);
        free(exact);
    }
    require(pum_fuzz_gguf(base, size) == 1, "the good image is refused");
    printf("%s: seed %llu, %llu mutations, %zu still opened\n", name, (unsigned long long)seed,
           (unsigned long long)count, opened);
    pum_array_free(&l.numbers);
    pum_array_free(&l.types);
    pum_array_free(&l.values);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: fuzz_gguf BASE.gguf [SEED [COUNT]]\n");
        return 2;
    }
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1,
             count = argc > 3 ? strtoull(argv[3], NULL, 10) : 2000;
    uint8_t *base;
    size_t size;
    pumice_error err = { 0 };
    if (pum_file_read(argv[1], (size_t)1 << 30, &base, &size, &err) != PUMICE_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 2;
    }
    gguf_image spm = vocab_image_spm(), bpe = vocab_image_bpe("llama-bpe");
    gguf_image_finish(&spm);
    gguf_image_finish(&bpe);
    run(argv[1], base, size, seed, count);
    run("a SentencePiece vocabulary", (const uint8_t *)spm.data, spm.count, seed, count / 2);
    run("a byte-level vocabulary", (const uint8_t *)bpe.data, bpe.count, seed, count / 2);
    printf("%zu of the accepted files could be planned as models\n", n_planned);
    gguf_image_free(&spm);
    gguf_image_free(&bpe);
    pum_free(base);
    return 0;
}

#endif
