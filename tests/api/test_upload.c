/* SPDX-License-Identifier: Apache-2.0
 * Weights of every format come to the device as its kernels read them, byte for byte, whoever
 * rearranges them: the host on all its cores or through the staging ring, or the device. How many
 * bytes went which way is counted. Where a device takes the file's pages, what it can read there is
 * not copied. A device that moves bytes wrongly is found out. */
#include "api.h"
#include "kernels_spv.h"
#include "settle.h"
#include "testing.h"
#include "vk_tools.h"

#include <sys/mman.h>

enum { MOST_WORDS = 1 << 14, SPIRV_HEAD = 5, OP_IADD = 128, OP_ISUB = 130 };

static uint64_t random_state = 1;
static struct {
    uint8_t *data;
    size_t size_bytes;
} file;

static uint8_t random_byte(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint8_t)(random_state >> 56);
}

static void add_weight(pum_model_def *def, pum_dtype type, uint64_t rows, uint64_t cols)
{
    pum_weight w = { .dtype = type, .stored = type, .rows = rows, .cols = cols, .splittable = rows > 1 };
    snprintf(w.name, sizeof w.name, "weight %zu", def->weights.count);
    assert_true(pum_dtype_row_bytes(type, cols, &w.row_bytes));
    uint8_t *bytes = pum_alloc((size_t)(rows * w.row_bytes));
    assert_non_null(bytes);
    for (uint64_t i = 0; i < rows * w.row_bytes; i++) bytes[i] = random_byte();
    w.data = w.owned = bytes;
    assert_true(pum_array_push(&def->weights, w));
}

/* Moves the weights into pages that look like a mapped file, each on 32 bytes but for some that no device can bind
 * and the last, which every device can. */
static void map_weights(pum_model_def *def)
{
    size_t at[64], room = 0;
    assert_true(def->weights.count <= PUM_COUNT(at));
    for (size_t i = 0; i < def->weights.count; i++) {
        const pum_weight *w = &def->weights.data[i];
        bool last = i + 1 == def->weights.count;
        at[i] = last ? pum_align_up(room, 256) : pum_align_up(room, 32) + (i % 5 == 4 ? 2 : 0);
        room = at[i] + (size_t)(w->rows * w->row_bytes);
    }
    file.size_bytes = (room + PUM_PAGE_BYTES - 1) / PUM_PAGE_BYTES * PUM_PAGE_BYTES;
    file.data = mmap(NULL, file.size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(file.data != MAP_FAILED);
    for (size_t i = 0; i < def->weights.count; i++) {
        pum_weight *w = &def->weights.data[i];
        memcpy(file.data + at[i], w->data, (size_t)(w->rows * w->row_bytes));
        pum_free(w->owned);
        w->owned = NULL;
        w->data = file.data + at[i];
    }
    assert_int_equal(mprotect(file.data, file.size_bytes, PROT_READ), 0);
}

/* No model, but weights: all types, few rows and many, one block a row and many. */
static void make_weights(pum_model_def *def)
{
    for (int t = 0; t < PUM_DTYPE_COUNT; t++) {
        const pum_dtype_info *info = pum_dtype_get((pum_dtype)t);
        if (!info->is_weight) continue;
        add_weight(def, (pum_dtype)t, 1 + (uint64_t)t, info->block_elems * 1ull);
        add_weight(def, (pum_dtype)t, 37, info->block_elems * 9ull);
    }
    add_weight(def, PUM_DTYPE_Q8_0, 4099, 2048); /* several regions and slices */
    add_weight(def, PUM_DTYPE_F16, 4099, 1024);
}

typedef struct seen {
    uint64_t done, total;
    uint32_t calls;
    bool cancel;
} seen;

static int on_progress(void *user, uint64_t done, uint64_t total)
{
    seen *s = user;
    assert_true(done >= s->done && done <= total);
    s->done = done;
    s->total = total;
    s->calls++;
    return s->cancel;
}

static void assert_weights(const pum_model_part *part, const pum_placement *placement)
{
    pumice_error err = { 0 };
    for (size_t i = 0; i < placement->pieces.count; i++) {
        const pum_piece *p = &placement->pieces.data[i];
        const pum_weight *w = &part->def->weights.data[p->tensor];
        uint64_t row_bytes;
        assert_true(pum_dtype_device_row_bytes(w->dtype, w->cols, &row_bytes));
        size_t bytes = (size_t)(p->row_count * row_bytes);
        uint8_t *want = malloc(bytes), *got = malloc(bytes);
        assert_non_null(want);
        assert_non_null(got);
        pum_dtype_pack_rows(w->dtype, p->row_count, w->cols, (const uint8_t *)w->data + p->row_first * w->row_bytes,
                            want);
        assert_vk_ok(pum_vk_buffer_read(part->device->vk, &part->buffers[p->buffer], p->offset_bytes, got, bytes, &err),
                     err);
        if (memcmp(want, got, bytes) != 0) fail_msg("%s of type %s", w->name, pum_dtype_get(w->dtype)->name);
        free(want);
        free(got);
    }
}

typedef struct outcome {
    vk_log log;
    seen progress;
    pum_load_bytes loaded, later; /* when loading ended, and when all was copied that is to be */
    pumice_status status;
} outcome;

/* Uploads the weights to a device that is made less than it is, and compares. */
static void upload_how(const char *caps, const pum_vk_kernel_words *replaced, bool cancel, uint32_t in_place,
                       outcome *out)
{
    pumice_error err = { 0 };
    *out = (outcome){ .progress.cancel = cancel };
    pum_vk_params params = vk_params(&out->log, 0);
    params.replaced = replaced;
    assert_true(pum_caps_wishes_parse(NULL, caps, NULL, &params.wishes, &err));
    pumice_device *device = pum_alloc(sizeof *device);
    assert_non_null(device);
    device->vk = vk_open(&params);
    atomic_init(&device->references, 1);
    pum_tuning_for(pum_vk_device_caps(device->vk), &device->tuning);
    pumice_model model = { .in_place = in_place };
    make_weights(&model.def);
    map_weights(&model.def);
    model.def.hp.n_layers = 1;
    assert_vk_ok(pum_parts_make_one(&model, device, 0, 1, &err), err);
    uint64_t before = pum_vk_device_used_bytes(device->vk);
    assert_int_equal(before, 0); /* what is imported takes no budget */
    pumice_model_params p = { .struct_size = sizeof p, .progress = on_progress, .progress_user = &out->progress };
    out->status = pum_parts_upload(&model, &p, &err);
    out->loaded = model.loaded;
    if (out->status == PUMICE_OK) {
        const pum_model_part *part = &model.parts[0];
        assert_weights(part, &part->placement);
        pum_settle_begin(&model.parts[0]);
        for (int i = 0; part->settling && i < 6000 && !atomic_load(&part->is_settled); i++) usleep(10000);
        assert_weights(part, pum_part_weights(part));
        out->later = pum_parts_loaded(&model);
        assert_int_equal(out->progress.done, out->progress.total);
        assert_int_equal(out->progress.total, model.parts[0].placement.total_bytes);
    }
    pum_parts_free(&model);
    pum_model_def_free(&model.def);
    pumice_device_destroy(&device);
    munmap(file.data, file.size_bytes);
    assert_int_equal(out->log.errors, 0);
}

static void upload(const char *caps, const pum_vk_kernel_words *replaced, bool cancel, outcome *out)
{
    upload_how(caps, replaced, cancel, PUMICE_IN_PLACE_NEVER, out);
}

static void assert_way(const char *caps, bool on_device)
{
    outcome o;
    upload(caps, NULL, false, &o);
    assert_int_equal(o.status, PUMICE_OK);
    assert_true(o.loaded.copied > 8 << 20);
    assert_int_equal(o.loaded.rounded, 0);
    assert_true((on_device ? o.loaded.repacked_device : o.loaded.repacked_host) > 8 << 20);
    assert_int_equal(on_device ? o.loaded.repacked_host : o.loaded.repacked_device, 0);
}

static void test_host(void **state)
{
    (void)state;
    assert_way("repack=0", false);
    assert_way("repack=0,unified=0", false);
}

static void test_on_device(void **state)
{
    (void)state;
    assert_way("repack=1", true);
    assert_way("repack=1,align=4K", true);
    assert_way("repack=1,range=1M", true);
}

static void test_device_staged(void **state)
{
    (void)state;
    assert_way("repack=1,unified=0", true);
    assert_way("repack=1,unified=0,transfer=1", true);
    assert_way("repack=1,unified=0,timeline=0", true);
}

/* Both drivers take the pages; what lies otherwise on the device is repacked from them, by the host or the device. */
static void test_in_place(void **state)
{
    (void)state;
    for (int device = 0; device < 2; device++) {
        outcome o;
        upload(device ? "host-import=1,repack=1" : "host-import=1,repack=0", NULL, false, &o);
        assert_int_equal(o.status, PUMICE_OK);
        assert_true(o.loaded.in_place > 0);
        assert_true(o.loaded.copied > 0); /* vectors, and what cannot be bound */
        assert_true((device ? o.loaded.repacked_device : o.loaded.repacked_host) > 8 << 20);
    }
    outcome o;
    upload("host-import=1,align=4K", NULL, false, &o);
    assert_int_equal(o.status, PUMICE_OK);
    upload("host-import=1,range=1M,allocation=2M", NULL, false, &o);
    assert_int_equal(o.status, PUMICE_OK);
    upload("host-import=1,unified=0", NULL, false, &o);
    assert_int_equal(o.status, PUMICE_OK);
    assert_int_equal(o.loaded.in_place, 0);
    upload("host-import=0", NULL, false, &o);
    assert_int_equal(o.loaded.in_place, 0);
}

/* What is copied later is so byte for byte, however the buffers are cut; the rest is where it was. */
static void test_in_place_at_first(void **state)
{
    static const char *const caps[] = { "repack=0", "repack=1", "range=1M,allocation=2M", "align=4K" };
    (void)state;
    for (size_t i = 0; i < PUM_COUNT(caps); i++) {
        outcome o;
        upload_how(caps[i], NULL, false, PUMICE_IN_PLACE_AT_FIRST, &o);
        assert_int_equal(o.status, PUMICE_OK);
        assert_true(o.loaded.in_place > 0 || i >= 2); /* it may be that nothing can be bound */
        assert_int_equal(o.later.in_place, 0);
        assert_int_equal(o.later.copied, o.loaded.copied + o.loaded.in_place);
    }
    outcome o;
    upload_how("", NULL, false, PUMICE_IN_PLACE_ALWAYS, &o);
    assert_true(o.later.in_place > 0);
    assert_memory_equal(&o.later, &o.loaded, sizeof o.later);
    upload_how("", NULL, true, PUMICE_IN_PLACE_AT_FIRST, &o);
    assert_int_equal(o.status, PUMICE_ERROR_CANCELLED);
}

static void test_import_refused(void **state)
{
    (void)state;
    vk_log log = { 0 };
    pumice_error err = { 0 };
    pum_vk_params params = vk_params(&log, 0);
    pum_vk_device *device = vk_open(&params);
    pum_vk_buffer b;
    uint8_t *pages = mmap(NULL, 2 * PUM_PAGE_BYTES, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(pages != MAP_FAILED);
    assert_int_equal(pum_vk_buffer_import(device, pages + 64, PUM_PAGE_BYTES, "test", &b, &err),
                     PUMICE_ERROR_UNSUPPORTED);
    assert_null(b.buffer);
    pum_error_clear(&err);
    assert_int_equal(pum_vk_buffer_import(device, pages, 100, "test", &b, &err), PUMICE_ERROR_UNSUPPORTED);
    pum_vk_device_destroy(&device);
    munmap(pages, 2 * PUM_PAGE_BYTES);
    assert_int_equal(log.errors, 0);
}

static void test_cancel(void **state)
{
    static const char *const caps[] = { "repack=0", "repack=1", "repack=1,unified=0", "host-import=1,repack=1" };
    (void)state;
    for (size_t i = 0; i < PUM_COUNT(caps); i++) {
        outcome o;
        upload(caps[i], NULL, true, &o);
        assert_int_equal(o.status, PUMICE_ERROR_CANCELLED);
    }
}

/* The kernel with its additions made subtractions. */
static void test_wrong_kernel(void **state)
{
    static uint32_t words[MOST_WORDS];
    const pum_spirv *code = &pum_kernel_spirv[PUM_KERNEL_repack_base];
    (void)state;
    assert_true(code->bytes <= sizeof words);
    memcpy(words, code->words, code->bytes);
    for (size_t i = SPIRV_HEAD; i < code->bytes / 4; i += words[i] >> 16) {
        if ((words[i] & 0xffff) == OP_IADD) words[i] = (words[i] & 0xffff0000u) | OP_ISUB;
    }
    const pum_vk_kernel_words wrong = { PUM_KERNEL_repack_base, words, code->bytes };
    outcome o;
    upload("repack=1", &wrong, false, &o);
    assert_int_equal(o.status, PUMICE_OK);
    assert_non_null(strstr(o.log.last, "repack_base"));
    assert_int_equal(o.loaded.repacked_device, 0);
    assert_true(o.loaded.repacked_host > 8 << 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_host),   cmocka_unit_test(test_on_device), cmocka_unit_test(test_device_staged),
        cmocka_unit_test(test_cancel), cmocka_unit_test(test_wrong_kernel), cmocka_unit_test(test_in_place),
        cmocka_unit_test(test_in_place_at_first), cmocka_unit_test(test_import_refused),
    };
    test_keep_modules();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
