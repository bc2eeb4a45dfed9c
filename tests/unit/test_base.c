/* SPDX-License-Identifier: Apache-2.0
 * base/ and the graph's bookkeeping: text, UTF-8, arrays, arena, files, errors, dtypes, step
 * layout. */
#include "args.h"
#include "graph.h"
#include "task.h"
#include "testing.h"

#include <sys/mman.h>

static void test_utf8(void **state)
{
    (void)state;
    assert_int_equal(pum_utf8_length("a", 1), 1);
    assert_int_equal(pum_utf8_length("\xc3\xa4", 2), 2);
    assert_int_equal(pum_utf8_length("\xc3", 1), -1);
    assert_int_equal(pum_utf8_length("\xe2\x96\x81", 3), 3);
    assert_int_equal(pum_utf8_length("\xe2\x96", 2), -1);
    assert_int_equal(pum_utf8_length("\xf0\x9f\x98\x80", 4), 4);
    assert_int_equal(pum_utf8_length("\xc0\x80", 2), 0);         /* overlong */
    assert_int_equal(pum_utf8_length("\xe0\x80\x80", 3), 0);     /* overlong */
    assert_int_equal(pum_utf8_length("\xed\xa0\x80", 3), 0);     /* surrogate */
    assert_int_equal(pum_utf8_length("\xf4\x90\x80\x80", 4), 0); /* beyond U+10FFFF */
    assert_int_equal(pum_utf8_length("\x80", 1), 0);
    assert_int_equal(pum_utf8_length("", 0), -1);
}

static void test_errors_keep_the_first_fault(void **state)
{
    (void)state;
    pumice_error err = { 0 };
    assert_int_equal(pum_fail(&err, PUMICE_ERROR_IO, "first %d", 1), PUMICE_ERROR_IO);
    assert_int_equal(pum_fail(&err, PUMICE_ERROR_INVALID, "second"), PUMICE_ERROR_INVALID);
    assert_string_equal(err.text, "first 1");
    assert_int_equal(err.status, PUMICE_ERROR_IO);
    assert_int_equal(pum_fail(NULL, PUMICE_ERROR_IO, "no one listens"), PUMICE_ERROR_IO);
    char wide[1200];
    memset(wide, 0, sizeof wide);
    for (int i = 0; i < 500; i++) memcpy(wide + 2 * i, "\xc3\xa4", 2);
    pum_error_clear(&err);
    pum_fail(&err, PUMICE_ERROR_IO, "x%s", wide);
    size_t n = strlen(err.text); /* cut on a boundary: one x and whole pairs */
    assert_true(n < sizeof err.text && n % 2 == 1);
}

static void test_array_arena_text(void **state)
{
    (void)state;
    PUM_ARRAY(int) a = { 0 };
    for (int i = 0; i < 1000; i++) assert_true(pum_array_push(&a, i));
    for (int i = 0; i < 1000; i++) assert_int_equal(a.data[i], i);
    pum_array_free(&a);
    size_t capacity = 0;
    void *none = NULL;
    assert_false(pum_array_grow(&none, &capacity, SIZE_MAX / 2, 16));
    assert_null(pum_alloc_array(SIZE_MAX / 2, 16));
    pum_arena arena = { 0 };
    char *s = pum_arena_strdup(&arena, "kept");
    for (int i = 0; i < 3000; i++) {
        unsigned char *p = pum_arena_alloc(&arena, 100);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 16, 0);
        assert_int_equal(p[99], 0);
    }
    assert_non_null(pum_arena_alloc(&arena, 1 << 20));
    assert_string_equal(s, "kept");
    assert_null(pum_arena_alloc(&arena, SIZE_MAX));
    assert_false(pum_arena_ok(&arena));
    assert_null(pum_arena_alloc(&arena, 1)); /* sticky */
    pum_arena_free(&arena);
    pum_text t = { 0 };
    for (int i = 0; i < 500; i++) pum_text_printf(&t, "%d,", i);
    pum_text_add(&t, "end", 3);
    assert_false(t.failed);
    assert_string_equal(t.data + t.count - 7, "499,end");
    pum_text_free(&t);
}

static void test_sizes(void **state)
{
    (void)state;
    uint64_t out;
    assert_true(pum_mul_u64(1ull << 32, 1ull << 31, &out));
    assert_false(pum_mul_u64(1ull << 32, 1ull << 32, &out));
    assert_false(pum_add_u64(UINT64_MAX, 1, &out));
    assert_true(pum_dtype_row_bytes(PUM_DTYPE_Q8_0, 64, &out));
    assert_int_equal(out, 68);
    assert_false(pum_dtype_row_bytes(PUM_DTYPE_Q4_0, 33, &out));
    assert_false(pum_dtype_row_bytes(PUM_DTYPE_F64, UINT64_MAX / 4, &out));
    pum_dtype type;
    assert_true(pum_dtype_from_name("q8_0", &type) && type == PUM_DTYPE_Q8_0);
    assert_true(pum_dtype_from_gguf(30, &type) && type == PUM_DTYPE_BF16);
    assert_false(pum_dtype_from_gguf(4, &type));
    assert_null(pum_dtype_get(PUM_DTYPE_COUNT));
}

/* A row of Q8_0 on the device: 3 x 32 bytes, then 3 scales of 2 bytes, padded to 16. */
static void test_planes_of_q8_0(void **state)
{
    (void)state;
    uint8_t file[2 * 3 * 34], device[2 * 112], want[112];
    uint64_t bytes;
    for (size_t i = 0; i < sizeof file; i++) file[i] = (uint8_t)(i + 1);
    assert_true(pum_dtype_device_row_bytes(PUM_DTYPE_Q8_0, 96, &bytes));
    assert_int_equal(bytes, 112);
    memset(device, 0xee, sizeof device);
    pum_dtype_pack_rows(PUM_DTYPE_Q8_0, 2, 96, file, device);
    for (size_t r = 0; r < 2; r++) {
        memset(want, 0, sizeof want);
        for (size_t b = 0; b < 3; b++) {
            memcpy(want + 32 * b, file + 102 * r + 34 * b + 2, 32);
            memcpy(want + 96 + 2 * b, file + 102 * r + 34 * b, 2);
        }
        assert_memory_equal(device + 112 * r, want, sizeof want);
    }
}

/* The planes of every type hold each byte of a block once: packing loses nothing. */
static void test_planes_round_trip(void **state)
{
    (void)state;
    for (int t = 0; t < PUM_DTYPE_COUNT; t++) {
        const pum_dtype_info *info = pum_dtype_get((pum_dtype)t);
        for (uint64_t blocks = 1; blocks < 6; blocks++) {
            uint64_t cols = blocks * info->block_elems, file_bytes, device_bytes, planes = 0;
            assert_true(pum_dtype_row_bytes((pum_dtype)t, cols, &file_bytes));
            assert_true(pum_dtype_device_row_bytes((pum_dtype)t, cols, &device_bytes));
            for (int p = 0; p < PUM_MAX_PLANES; p++) planes += info->planes[p].bytes;
            assert_true(planes == 0 || planes == info->block_bytes);
            assert_true(planes ? device_bytes % 16 == 0 : device_bytes == file_bytes);
            uint8_t *file = malloc(3 * file_bytes), *back = malloc(3 * file_bytes);
            uint8_t *device = malloc(3 * device_bytes);
            for (uint64_t i = 0; i < 3 * file_bytes; i++) file[i] = (uint8_t)(i * 167 + i / 256);
            pum_dtype_pack_rows((pum_dtype)t, 3, cols, file, device);
            memset(back, 0, 3 * file_bytes);
            pum_dtype_unpack_rows((pum_dtype)t, 3, cols, device, back);
            assert_memory_equal(file, back, 3 * file_bytes);
            free(file);
            free(back);
            free(device);
        }
    }
}

static void test_files(void **state)
{
    (void)state;
    char folder[] = "/tmp/pumice-test-XXXXXX", path[TEST_PATH_BYTES], deep[256];
    pumice_error err = { 0 };
    pum_file file;
    uint8_t *data;
    size_t bytes;
    assert_non_null(mkdtemp(folder));
    snprintf(deep, sizeof deep, "%s/a/b/c", folder);
    assert_int_equal(pum_folder_create(deep, &err), PUMICE_OK);
    snprintf(path, sizeof path, "%s/file", deep);
    assert_int_equal(pum_file_map(path, &file, &err), PUMICE_ERROR_IO);
    assert_non_null(strstr(err.text, path));
    pum_error_clear(&err);
    assert_int_equal(pum_file_map(deep, &file, &err), PUMICE_ERROR_IO);
    assert_non_null(strstr(err.text, "folder"));
    pum_error_clear(&err);
    assert_int_equal(pum_file_write(path, "hello", 5, &err), PUMICE_OK);
    assert_int_equal(pum_file_write(path, "world!", 6, &err), PUMICE_OK);
    assert_int_equal(pum_file_map(path, &file, &err), PUMICE_OK);
    assert_int_equal(file.size_bytes, 6);
    assert_memory_equal(file.data, "world!", 6);
    pum_file_unmap(&file);
    pum_file_unmap(&file);
    assert_int_equal(pum_file_read(path, 100, &data, &bytes, &err), PUMICE_OK);
    assert_int_equal(bytes, 6);
    pum_free(data);
    assert_int_equal(pum_file_read(path, 3, &data, &bytes, &err), PUMICE_ERROR_FORMAT);
    assert_null(data);
    pum_error_clear(&err);
    assert_int_equal(pum_file_write(path, "", 0, &err), PUMICE_OK);
    assert_int_equal(pum_file_map(path, &file, &err), PUMICE_ERROR_FORMAT);
    char command[TEST_PATH_BYTES + 16];
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    assert_int_equal(system(command), 0);
}

static void add_one(void *user) { atomic_fetch_add((atomic_int *)user, 1); }

/* Pages of a file that was cut short are found missing, not run into. */
static void test_missing_pages(void **state)
{
    (void)state;
    enum { BYTES = 8 * PUM_PAGE_BYTES };
    pumice_error err = { 0 };
    pum_file file;
    char path[64];
    snprintf(path, sizeof path, "/tmp/pumice-pages-%ld", (long)getpid());
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(ftruncate(fileno(f), BYTES), 0);
    assert_int_equal(pum_file_map(path, &file, &err), PUMICE_OK);
    assert_true(pum_memory_populate(file.data + 100, BYTES - 100));
    assert_int_equal(ftruncate(fileno(f), BYTES / 2), 0);
    assert_true(pum_memory_populate(file.data, BYTES / 2));
#ifdef MADV_POPULATE_READ
    bool known = madvise((void *)(uintptr_t)file.data, PUM_PAGE_BYTES, MADV_POPULATE_READ) == 0; /* to the kernel */
    assert_int_equal(pum_memory_populate(file.data + 1, BYTES - 1), !known);
#endif
    pum_file_unmap(&file);
    fclose(f);
    unlink(path);
}

typedef struct counter {
    pum_lock *lock;
    uint32_t count;
} counter;

static void count_up(void *user)
{
    counter *c = user;
    for (int i = 0; i < 1000; i++) {
        pum_lock_take(c->lock);
        c->count++;
        pum_lock_wake(c->lock);
        pum_lock_give(c->lock);
    }
}

static void test_locks(void **state)
{
    (void)state;
    counter c = { .lock = pum_lock_create() };
    pum_task tasks[3] = { 0 };
    assert_non_null(c.lock);
    for (int i = 0; i < 3; i++) assert_true(pum_task_start(&tasks[i], count_up, &c));
    pum_lock_take(c.lock);
    while (c.count < 3000) pum_lock_wait(c.lock);
    for (uint64_t begin = pum_now_ns(), end = begin + 20000000; pum_now_ns() < end;) {
        pum_lock_wait_for(c.lock, 20000000); /* nobody wakes it, but it ends */
    }
    assert_int_equal(c.count, 3000);
    pum_lock_give(c.lock);
    for (int i = 0; i < 3; i++) pum_task_join(&tasks[i]);
    pum_lock_destroy(&c.lock);
    assert_null(c.lock);
    pum_lock_destroy(&c.lock);
}

static void test_tasks(void **state)
{
    (void)state;
    atomic_int count;
    pum_task tasks[3] = { 0 };
    atomic_init(&count, 0);
    for (size_t i = 0; i < PUM_COUNT(tasks); i++)
        assert_true(pum_task_start(&tasks[i], add_one, &count));
    for (size_t i = 0; i < PUM_COUNT(tasks); i++) pum_task_join(&tasks[i]);
    assert_int_equal(atomic_load(&count), 3);
    pum_task_join(&tasks[0]); /* again does nothing */
}

static void test_step_layout(void **state)
{
    (void)state;
    pum_step_layout s = pum_step_layout_make(8, 3, 2, 100);
    assert_int_equal(s.pages_per_sequence, 4);
    assert_int_equal(s.slot_at, STEP_ROWS_AT + 8 * STEP_ROW_WORDS);
    assert_int_equal(s.table_at, s.slot_at + 3 * STEP_SLOT_WORDS);
    assert_true(s.words >= s.table_at + 2 * s.table_stride);
    assert_true(SLOT_RING + STEP_RING <= STEP_SLOT_WORDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_utf8),  cmocka_unit_test(test_errors_keep_the_first_fault),
        cmocka_unit_test(test_sizes), cmocka_unit_test(test_planes_of_q8_0),
        cmocka_unit_test(test_planes_round_trip), cmocka_unit_test(test_array_arena_text),
        cmocka_unit_test(test_files), cmocka_unit_test(test_step_layout),
        cmocka_unit_test(test_missing_pages), cmocka_unit_test(test_locks), cmocka_unit_test(test_tasks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
