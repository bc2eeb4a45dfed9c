/* SPDX-License-Identifier: Apache-2.0
 * The GGUF reader on small images made here: what is good is read as it stands, and every kind of
 * damage is refused with a sentence that names the field. Truncations of a good image at every byte
 * must be refused or read without a fault. */
#include "testing.h"

#include "gguf_image.h"

static pumice_status open_image(const gguf_image *image, pum_gguf **g, pumice_error *err)
{
    *err = (pumice_error){ 0 };
    return pum_gguf_open_memory(image->data, image->count, "image.gguf", g, err);
}

static pum_gguf *open_good(gguf_image *image)
{
    pum_gguf *g = NULL;
    pumice_error err;
    gguf_image_finish(image);
    if (open_image(image, &g, &err) != PUMICE_OK) fail_msg("%s", err.text);
    return g;
}

/* Opens a damaged image as it is, expects a status and words in its message, and frees it. */
static void refuse_raw(gguf_image *image, pumice_status want, const char *words)
{
    pum_gguf *g = (pum_gguf *)image;
    pumice_error err;
    pumice_status status = open_image(image, &g, &err);
    assert_null(g);
    if (status != want || !strstr(err.text, words) || !strstr(err.text, "image.gguf")) {
        fail_msg("status %d, '%s', which should say '%s'", status, err.text, words);
    }
    gguf_image_free(image);
}

static void refuse(gguf_image *image, pumice_status want, const char *words)
{
    gguf_image_finish(image);
    refuse_raw(image, want, words);
}

static void test_values(void **state)
{
    (void)state;
    gguf_image image = { 0 };
    gguf_image_key(&image, "u8", PUM_GGUF_U8);
    gguf_image_le(&image, 200, 1);
    gguf_image_key(&image, "i8", PUM_GGUF_I8);
    gguf_image_le(&image, 0xff, 1);
    gguf_image_key(&image, "u16", PUM_GGUF_U16);
    gguf_image_le(&image, 60000, 2);
    gguf_image_key(&image, "i16", PUM_GGUF_I16);
    gguf_image_le(&image, 0x8000, 2);
    gguf_image_key_u32(&image, "u32", 4000000000u);
    gguf_image_key(&image, "i32", PUM_GGUF_I32);
    gguf_image_u32(&image, (uint32_t)-7);
    gguf_image_key(&image, "f32", PUM_GGUF_F32);
    gguf_image_f32(&image, 1.5f);
    gguf_image_bool(&image, "yes", 1);
    gguf_image_string(&image, "text", "caf\xc3\xa9");
    gguf_image_key(&image, "u64", PUM_GGUF_U64);
    gguf_image_u64(&image, UINT64_MAX);
    gguf_image_key(&image, "i64", PUM_GGUF_I64);
    gguf_image_u64(&image, (uint64_t)-5);
    gguf_image_key(&image, "f64", PUM_GGUF_F64);
    double d = -0.25;
    gguf_image_bytes(&image, &d, 8); /* tests run on little-endian machines */
    pum_gguf *g = open_good(&image);
    uint32_t u;
    int32_t i;
    uint64_t w;
    float f;
    bool b;
    pum_str s;
    assert_int_equal(pum_gguf_version(g), 3);
    assert_string_equal(pum_gguf_path(g), "image.gguf");
    assert_int_equal(pum_gguf_size_bytes(g), image.count);
    assert_int_equal(pum_gguf_kv_count(g), 12);
    assert_true(pum_str_equal(pum_gguf_kv_key(g, 1), "i8"));
    assert_int_equal(pum_gguf_kv_at(g, 1)->type, PUM_GGUF_I8);
    assert_null(pum_gguf_kv_at(g, 12));
    assert_true(pum_gguf_u32(g, "u8", &u) && u == 200);
    assert_true(pum_gguf_i32(g, "i8", &i) && i == -1);
    assert_true(pum_gguf_u32(g, "u16", &u) && u == 60000);
    assert_true(pum_gguf_i32(g, "i16", &i) && i == -32768);
    assert_true(pum_gguf_u32(g, "u32", &u) && u == 4000000000u);
    assert_false(pum_gguf_i32(g, "u32", &i)); /* does not fit */
    assert_true(pum_gguf_i32(g, "i32", &i) && i == -7);
    assert_false(pum_gguf_u32(g, "i32", &u));
    assert_true(pum_gguf_f32(g, "f32", &f) && f == 1.5f);
    assert_true(pum_gguf_f32(g, "f64", &f) && f == -0.25f);
    assert_true(pum_gguf_f32(g, "i64", &f) && f == -5);
    assert_true(pum_gguf_u64(g, "u64", &w) && w == UINT64_MAX);
    assert_false(pum_gguf_i32(g, "u64", &i));
    assert_true(pum_gguf_i32(g, "i64", &i) && i == -5);
    assert_true(pum_gguf_bool(g, "yes", &b) && b);
    assert_false(pum_gguf_bool(g, "u8", &b));
    assert_true(pum_gguf_str(g, "text", &s) && pum_str_equal(s, "caf\xc3\xa9"));
    assert_false(pum_gguf_str(g, "u8", &s));
    assert_false(pum_gguf_u32(g, "text", &u));
    assert_false(pum_gguf_u32(g, "absent", &u));
    assert_null(pum_gguf_find(g, "absent"));
    assert_string_equal(pum_gguf_type_name(PUM_GGUF_ARRAY), "array");
    pum_gguf_close(&g);
    pum_gguf_close(&g);
    gguf_image_free(&image);
}

static void test_arrays(void **state)
{
    (void)state;
    gguf_image image = { 0 };
    gguf_image_array(&image, "numbers", PUM_GGUF_I16, 3);
    for (int k = -1; k < 2; k++) gguf_image_le(&image, (uint64_t)k, 2);
    gguf_image_array(&image, "floats", PUM_GGUF_F32, 2);
    gguf_image_f32(&image, 0.5f);
    gguf_image_f32(&image, -2);
    gguf_image_array(&image, "words", PUM_GGUF_STRING, 3);
    gguf_image_text(&image, "one");
    gguf_image_text(&image, "");
    gguf_image_text(&image, "three");
    gguf_image_array(&image, "empty", PUM_GGUF_STRING, 0);
    pum_gguf *g = open_good(&image);
    const pum_gguf_value *numbers = pum_gguf_find(g, "numbers"), *words = pum_gguf_find(g, "words");
    int64_t v;
    double d;
    pum_str s;
    assert_true(pum_gguf_item_i64(numbers, 0, &v) && v == -1);
    assert_true(pum_gguf_item_f64(numbers, 2, &d) && d == 1);
    assert_false(pum_gguf_item_i64(numbers, 3, &v));
    assert_true(pum_gguf_item_f64(pum_gguf_find(g, "floats"), 1, &d) && d == -2);
    assert_false(pum_gguf_item_i64(pum_gguf_find(g, "floats"), 1, &v));
    assert_false(pum_gguf_item_i64(words, 0, &v));
    assert_true(pum_gguf_item_str(words, 2, &s) && pum_str_equal(s, "three"));
    assert_false(pum_gguf_item_str(words, 3, &s));
    assert_false(pum_gguf_item_str(numbers, 0, &s));
    const uint8_t *cursor = NULL;
    uint64_t index = 0, n = 0;
    while (pum_gguf_next_str(words, &cursor, &index, &s)) assert_int_equal(index, n++);
    assert_int_equal(n, 3);
    cursor = NULL;
    assert_false(pum_gguf_next_str(pum_gguf_find(g, "empty"), &cursor, &index, &s));
    pum_gguf_close(&g);
    gguf_image_free(&image);
}

/* Two tensors, the second 3-dimensional and quantized, at an alignment of the file's own. */
static gguf_image tensor_image(uint64_t second_offset, uint64_t alignment)
{
    const uint64_t a[] = { 5, 3 }, b[] = { 64, 2, 2 };
    gguf_image image = { 0 };
    gguf_image_key_u32(&image, "general.alignment", (uint32_t)alignment);
    gguf_image_tensor(&image, "a", 2, a, 0, 0);
    gguf_image_tensor(&image, "b.weight", 3, b, 8, second_offset);
    gguf_image_data(&image, 64, 64 + 4 * 68);
    gguf_image_finish(&image);
    return image;
}

static void test_tensors(void **state)
{
    (void)state;
    gguf_image image = tensor_image(64, 64);
    pum_gguf *g = open_good(&image);
    assert_int_equal(pum_gguf_tensor_count(g), 2);
    const pum_gguf_tensor *a = pum_gguf_tensor_at(g, 0), *b = pum_gguf_tensor_find(g, "b.weight");
    assert_ptr_equal(b, pum_gguf_tensor_at(g, 1));
    assert_null(pum_gguf_tensor_at(g, 2));
    assert_null(pum_gguf_tensor_find(g, "c"));
    assert_int_equal(a->type, PUM_DTYPE_F32);
    assert_int_equal(a->bytes, 60);
    assert_int_equal(a->ne[1], 3);
    assert_int_equal(a->ne[2], 1);
    assert_int_equal(b->type, PUM_DTYPE_Q8_0);
    assert_int_equal(b->n_dims, 3);
    assert_int_equal(b->bytes, 4 * 68);
    assert_int_equal(b->data - a->data, 64);
    pum_gguf_close(&g);
    gguf_image_free(&image);
    gguf_image empty = { 0 }; /* no metadata, no tensors, nothing after the header */
    g = open_good(&empty);
    assert_int_equal(pum_gguf_tensor_count(g) + pum_gguf_kv_count(g), 0);
    pum_gguf_close(&g);
    gguf_image_free(&empty);
}

static void test_bad_headers(void **state)
{
    (void)state;
    pumice_status format = PUMICE_ERROR_FORMAT, unsupported = PUMICE_ERROR_UNSUPPORTED;
    gguf_image image = { 0 };
    gguf_image_finish(&image);
    image.data[0] = 'X';
    refuse_raw(&image, format, "not a GGUF file");
    gguf_image_finish(&image);
    image.count = 3;
    refuse_raw(&image, format, "not a GGUF file");
    gguf_image_finish(&image);
    image.count = 20;
    refuse_raw(&image, format, "the header");
    gguf_image_finish(&image);
    image.data[4] = 1;
    refuse_raw(&image, unsupported, "version 1");
    gguf_image_finish(&image);
    image.data[4] = 0;
    image.data[7] = 3;
    refuse_raw(&image, unsupported, "big-endian");
    gguf_image_finish(&image);
    image.data[4] = 4;
    refuse_raw(&image, unsupported, "version 4");
    gguf_image_finish(&image);
    memset(image.data + 16, 0xff, 8);
    refuse_raw(&image, format, "metadata entries");
    gguf_image_finish(&image);
    memset(image.data + 8, 0xff, 8);
    refuse_raw(&image, format, "18446744073709551615 tensors");
    gguf_image_finish(&image);
    image.data[4] = 2; /* version 2 is fine */
    pum_gguf *g = NULL;
    pumice_error err;
    assert_int_equal(open_image(&image, &g, &err), PUMICE_OK);
    pum_gguf_close(&g);
    gguf_image_free(&image);
}

static void test_bad_metadata(void **state)
{
    (void)state;
    pumice_status format = PUMICE_ERROR_FORMAT, unsupported = PUMICE_ERROR_UNSUPPORTED;
    gguf_image image = { 0 };
    gguf_image_key_u32(&image, "twice", 1);
    gguf_image_key_u32(&image, "twice", 2);
    refuse(&image, format, "'twice' is there twice");
    gguf_image_key(&image, "odd", 99);
    gguf_image_data(&image, 64, 0);
    refuse(&image, format, "unknown type 99 in 'odd'");
    gguf_image_array(&image, "odd", 77, 1);
    refuse(&image, format, "unknown type 77 in 'odd'");
    gguf_image_array(&image, "nested", PUM_GGUF_ARRAY, 1);
    refuse(&image, unsupported, "array of arrays in 'nested'");
    gguf_image_array(&image, "huge", PUM_GGUF_U64, UINT64_MAX / 4); /* count times 8 overflows */
    refuse(&image, format, "'huge'");
    gguf_image_array(&image, "huge", PUM_GGUF_STRING, UINT64_MAX);
    refuse(&image, format, "'huge'");
    gguf_image_array(&image, "lying", PUM_GGUF_STRING, 1);
    gguf_image_u64(&image, UINT64_MAX - 3);
    refuse(&image, format, "'lying'");
    gguf_image_key(&image, "long", PUM_GGUF_STRING);
    gguf_image_u64(&image, 1000);
    refuse(&image, format, "'long'");
    gguf_image_bool(&image, "maybe", 2);
    refuse(&image, format, "'maybe'");
    gguf_image_array(&image, "maybe", PUM_GGUF_BOOL, 1);
    gguf_image_le(&image, 2, 1);
    refuse(&image, format, "'maybe'");
    gguf_image_key_u32(&image, "", 1);
    refuse(&image, format, "entry 0 has a bad name");
    gguf_image_key_u32(&image, "new\nline", 1);
    refuse(&image, format, "entry 0 has a bad name");
    gguf_image_key_u32(&image, "\xff", 1);
    refuse(&image, format, "entry 0 has a bad name");
    gguf_image_u64(&image, 3); /* a name with NUL in it */
    gguf_image_bytes(&image, "a\0b", 3);
    gguf_image_u32(&image, PUM_GGUF_U8);
    gguf_image_le(&image, 0, 1);
    image.n_kvs = 1;
    refuse(&image, format, "entry 0 has a bad name");
    const uint32_t bad[] = { 0, 4, 12, 48, 1u << 31 };
    for (size_t i = 0; i < PUM_COUNT(bad); i++) {
        gguf_image_key_u32(&image, "general.alignment", bad[i]);
        refuse(&image, format, "general.alignment");
    }
    gguf_image_string(&image, "general.alignment", "32");
    refuse(&image, format, "general.alignment");
}

static void refuse_tensor(uint32_t n_dims, const uint64_t *ne, uint32_t type, uint64_t offset,
                          pumice_status want, const char *words)
{
    gguf_image image = { 0 };
    gguf_image_tensor(&image, "t.weight", n_dims, ne, type, offset);
    gguf_image_data(&image, 32, 1024);
    refuse(&image, want, words);
}

static void test_bad_tensors(void **state)
{
    (void)state;
    pumice_status format = PUMICE_ERROR_FORMAT, unsupported = PUMICE_ERROR_UNSUPPORTED;
    const uint64_t ok[] = { 32, 2, 1, 1, 1 }, zero[] = { 32, 0 }, wide[] = { 1ull << 62, 4 };
    const uint64_t huge[] = { 1ull << 40, 1ull << 40 }, odd[] = { 33, 1 }, big[] = { 32, 9 };
    refuse_tensor(0, ok, 0, 0, format, "'t.weight' has 0 dimensions");
    refuse_tensor(5, ok, 0, 0, format, "'t.weight' has 5 dimensions");
    refuse_tensor(2, zero, 0, 0, format, "impossible size");
    refuse_tensor(2, wide, 0, 0, format, "impossible size");
    refuse_tensor(2, huge, 0, 0, format, "impossible size");
    refuse_tensor(1, wide, 0, 0, format, "impossible size"); /* in bytes */
    refuse_tensor(1, wide, 24, 0, format, "passes the end");
    refuse_tensor(2, odd, 8, 0, format, "whole blocks of 32");
    refuse_tensor(2, ok, 31, 0, unsupported, "ggml type 31");
    refuse_tensor(2, ok, UINT32_MAX, 0, unsupported, "'t.weight'");
    refuse_tensor(2, ok, 0, 8, format, "not aligned to 32");
    refuse_tensor(2, ok, 0, 1024, format, "passes the end");
    refuse_tensor(2, ok, 0, UINT64_MAX - 31, format, "passes the end");
    refuse_tensor(2, big, 0, 0, format, "passes the end");

    gguf_image image = { 0 };
    gguf_image_tensor(&image, "same", 2, ok, 0, 0);
    gguf_image_tensor(&image, "same", 2, ok, 0, 256);
    gguf_image_data(&image, 32, 1024);
    refuse(&image, format, "'same' is there twice");
    gguf_image_tensor(&image, "one", 2, ok, 0, 256);
    gguf_image_tensor(&image, "two", 2, ok, 0, 64);
    gguf_image_data(&image, 32, 1024);
    refuse(&image, format, "'two' and 'one' overlap");
    gguf_image_tensor(&image, "", 2, ok, 0, 0);
    gguf_image_data(&image, 32, 1024);
    refuse(&image, format, "tensor 0 has a bad name");
    image = tensor_image(0, 64);
    refuse(&image, format, "overlap");
    image = tensor_image(64, 64);
    image.count--;
    refuse(&image, format, "'b.weight' passes the end");
}

static void test_truncations(void **state)
{
    (void)state;
    gguf_image image = tensor_image(64, 64);
    size_t whole = image.count;
    for (size_t n = 0; n < whole; n++) {
        pum_gguf *g = NULL;
        pumice_error err = { 0 };
        char *copy = malloc(n + 1); /* its own block, so that reading past the end is seen */
        assert_non_null(copy);
        memcpy(copy, image.data, n);
        assert_int_equal(pum_gguf_open_memory(copy, n, "cut", &g, &err), PUMICE_ERROR_FORMAT);
        assert_null(g);
        assert_true(err.text[0] != 0);
        free(copy);
    }
    gguf_image_free(&image);
}

/* Keys made to fall into few slots of the index are not worth minutes. */
static void test_many_keys(void **state)
{
    (void)state;
    gguf_image image = { 0 };
    char key[32];
    for (int i = 0; i < 20000; i++) {
        snprintf(key, sizeof key, "key.%d", i);
        gguf_image_key_u32(&image, key, (uint32_t)i);
    }
    pum_gguf *g = open_good(&image);
    uint32_t v;
    for (int i = 0; i < 20000; i++) {
        snprintf(key, sizeof key, "key.%d", i);
        assert_true(pum_gguf_u32(g, key, &v) && v == (uint32_t)i);
    }
    pum_gguf_close(&g);
    gguf_image_free(&image);
}

static void test_files(void **state)
{
    (void)state;
    pum_gguf *g = NULL;
    pumice_error err = { 0 };
    char path[TEST_PATH_BYTES];
    assert_int_equal(pum_gguf_open("/no/such/file.gguf", &g, &err), PUMICE_ERROR_IO);
    assert_non_null(strstr(err.text, "/no/such/file.gguf"));
    assert_null(g);
    if (!test_data("stories260K/stories260K-Q8_0.gguf", path)) skip();
    err = (pumice_error){ 0 };
    if (pum_gguf_open(path, &g, &err) != PUMICE_OK) fail_msg("%s", err.text);
    pum_str s;
    assert_true(pum_gguf_str(g, "general.architecture", &s) && pum_str_equal(s, "llama"));
    const pum_gguf_tensor *t = pum_gguf_tensor_find(g, "token_embd.weight");
    assert_non_null(t);
    assert_int_equal(t->ne[0], 64);
    assert_int_equal(t->ne[1], 512);
    assert_int_equal(t->type, PUM_DTYPE_Q8_0);
    pum_gguf_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),       cmocka_unit_test(test_arrays),
        cmocka_unit_test(test_tensors),      cmocka_unit_test(test_bad_headers),
        cmocka_unit_test(test_bad_metadata), cmocka_unit_test(test_bad_tensors),
        cmocka_unit_test(test_truncations),  cmocka_unit_test(test_many_keys),
        cmocka_unit_test(test_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
