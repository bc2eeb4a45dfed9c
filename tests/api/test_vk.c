/* SPDX-License-Identifier: Apache-2.0
 * vk/ and exec/ on the driver that is there: choosing and opening a device, buffers on the mapped
 * and the staged path, the pipeline cache file, timeline and fence completion, honest errors, tiny
 * plans replayed many times, timestamps. Validation with synchronization validation is on; any
 * message fails the test, those of the device's end too. */
#include <pthread.h>
#include <sys/stat.h>
#include <time.h>

#include "vk_tools.h"

typedef unsigned long long ull;

static void close_device(pum_vk_device **device, vk_log *log)
{
    pum_vk_device_destroy(device);
    assert_null(*device);
    assert_int_equal(log->errors, 0);
}

/* ---- listing and choosing ---- */

typedef struct seen_device {
    uint32_t count;
    pum_caps caps;
    char uuid[33];
} seen_device;

static void see(void *user, uint32_t index, const pum_caps *caps, const char *uuid,
                const char *why_not)
{
    seen_device *s = user;
    assert_int_equal(index, s->count);
    assert_string_equal(why_not, "");
    assert_int_equal(strlen(uuid), 32);
    if (s->count++ == 0) {
        s->caps = *caps;
        snprintf(s->uuid, sizeof s->uuid, "%s", uuid);
    }
}

static void test_list(void **state)
{
    (void)state;
    vk_log log = { 0 };
    seen_device s = { 0 };
    pumice_error err = { 0 };
    pum_vk_params p = vk_params(&log, 0);
    assert_vk_ok(pum_vk_list(&p, see, &s, &err), err);
    assert_true(s.count >= 1);
    print_message("%s; %s; subgroups of %u; bits 0x%x; range %llu MiB\n", s.caps.name,
                  s.caps.driver_name, s.caps.subgroup_size, s.caps.bits,
                  (ull)s.caps.max_buffer_range_bytes >> 20);
    assert_true(s.caps.max_storage_buffers >= 8 && s.caps.max_push_bytes >= 128);
    assert_true(s.caps.local_heap_bytes > 0 && s.caps.local_budget_bytes > 0);
    assert_true(s.caps.max_allocation_bytes > 0 && s.caps.offset_align_bytes > 0);
    assert_int_equal(log.errors, 0);
}

static void test_select(void **state)
{
    (void)state;
    vk_log log = { 0 };
    seen_device s = { 0 };
    pumice_error err = { 0 };
    pum_vk_params p = vk_params(&log, 0);
    assert_vk_ok(pum_vk_list(&p, see, &s, &err), err);
    char part[8] = "", dashed[40];
    for (int i = 0; i < 5; i++) {
        part[i] = (char)(s.caps.name[i]
                         ^ (s.caps.name[i] >= 'a' && s.caps.name[i] <= 'z' ? 32 : 0));
    }
    snprintf(dashed, sizeof dashed, "%.8s-%.4s-%.20s", s.uuid, s.uuid + 8, s.uuid + 12);
    const char *good[] = { NULL, "auto", "AUTO", "", "0", s.uuid, dashed, part };
    for (size_t i = 0; i < PUM_COUNT(good); i++) {
        p.select = good[i];
        pum_vk_device *d = vk_open(&p);
        assert_int_equal(pum_vk_device_index(d), 0);
        assert_string_equal(pum_vk_device_uuid(d), s.uuid);
        assert_string_equal(pum_vk_device_caps(d)->name, s.caps.name);
        close_device(&d, &log);
    }
    if (s.caps.kind == PUMICE_DEVICE_SOFTWARE) {
        p.select = "cpu";
        pum_vk_device *d = vk_open(&p);
        close_device(&d, &log);
    }
    const char *bad[] = { "no such card", "77", "00112233445566778899aabbccddeeff" };
    for (size_t i = 0; i < PUM_COUNT(bad); i++) {
        pum_vk_device *d = (pum_vk_device *)&log;
        p.select = bad[i];
        pum_error_clear(&err);
        assert_int_equal(pum_vk_device_create(&p, &d, &err), PUMICE_ERROR_NO_DEVICE);
        assert_null(d);
        assert_non_null(strstr(err.text, bad[i]));
        assert_non_null(strstr(err.text, s.caps.name)); /* the sentence says what there is */
    }
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL empty_loader(VkInstance instance, const char *name)
{
    (void)instance, (void)name;
    return NULL;
}

static void test_broken_loader(void **state)
{
    (void)state;
    vk_log log = { 0 };
    pum_vk_device *d = NULL;
    pumice_error err = { 0 };
    pum_vk_params p = vk_params(&log, 0);
    union {
        PFN_vkGetInstanceProcAddr function;
        void *object;
    } loader = { empty_loader };
    p.get_instance_proc_addr = loader.object;
    assert_int_equal(pum_vk_device_create(&p, &d, &err), PUMICE_ERROR_NO_DEVICE);
    assert_non_null(strstr(err.text, "loader"));
}

/* ---- buffers ---- */

typedef struct stream_source {
    const uint8_t *bytes;
    size_t item_bytes;
} stream_source;

static void produce(void *user, void *to, uint64_t first, uint64_t count)
{
    const stream_source *s = user;
    memcpy(to, s->bytes + first * s->item_bytes, (size_t)count * s->item_bytes);
}

/* The content comes as items of several sizes: many in a chunk, one, a part of one. */
static void check_stream(pum_vk_device *d, pum_vk_buffer *b, uint8_t *out, uint8_t *in, size_t bytes)
{
    pumice_error err = { 0 };
    size_t sizes[] = { 1, 1001, bytes / 2, bytes };
    for (size_t k = 0; k < PUM_COUNT(sizes); k++) {
        size_t item = PUM_MAX(sizes[k], (size_t)1), count = bytes / item;
        stream_source source = { out, item };
        for (size_t i = 0; i < bytes; i++) out[i] = (uint8_t)(i * 7 + (i >> 8) + k);
        for (int twice = 0; twice < 2; twice++) /* the second while the first may be under way */
            assert_vk_ok(pum_vk_buffer_stream(d, b, bytes - count * item, item, count, produce,
                                              &source, &err),
                         err);
        assert_vk_ok(pum_vk_buffer_read(d, b, bytes - count * item, in, count * item, &err), err);
        assert_memory_equal(in, out, count * item);
    }
    stream_source source = { out, 1 };
    assert_int_equal(pum_vk_buffer_stream(d, b, 1, 1, bytes, produce, &source, &err),
                     PUMICE_ERROR_INTERNAL);
    pum_error_clear(&err);
    assert_vk_ok(pum_vk_stream_end(d, &err), err);
}

/* Ranges of any size and place, several in one call. */
static void check_moves(pum_vk_device *d, pum_vk_buffer *b, uint8_t *out, uint8_t *in, size_t bytes)
{
    pumice_error err = { 0 };
    const pum_vk_move moves[] = { { 1, 2001, 7 }, { 100, 3000, 1000 }, { bytes - 1, 50, 1 } };
    for (size_t i = 0; i < bytes; i++) out[i] = (uint8_t)(i * 29 + 3);
    assert_vk_ok(pum_vk_buffer_write(d, b, 0, out, bytes, &err), err);
    assert_vk_ok(pum_vk_buffer_move(d, b, moves, PUM_COUNT(moves), &err), err);
    for (size_t i = 0; i < PUM_COUNT(moves); i++) {
        memcpy(out + moves[i].to, out + moves[i].from, moves[i].bytes);
    }
    assert_vk_ok(pum_vk_buffer_read(d, b, 0, in, bytes, &err), err);
    assert_memory_equal(in, out, bytes);
}

static void check_buffer(pum_vk_device *d, pum_vk_use use, size_t bytes, size_t offset)
{
    pumice_error err = { 0 };
    pum_vk_buffer b;
    uint64_t before = pum_vk_device_used_bytes(d);
    uint8_t *out = malloc(bytes + 1), *in = malloc(bytes + 1);
    assert_non_null(out);
    assert_non_null(in);
    assert_vk_ok(pum_vk_buffer_create(d, use, bytes, "test", &b, &err), err);
    if (use != PUM_VK_DEVICE) assert_non_null(b.mapped);
    if (use == PUM_VK_SHARED) assert_true(b.coherent);
    assert_true(pum_vk_device_used_bytes(d) >= before + bytes);
    for (size_t i = 0; i < bytes; i++) out[i] = (uint8_t)(i * 31 + (i >> 8));
    assert_vk_ok(pum_vk_buffer_write(d, &b, 0, out, bytes, &err), err);
    size_t n = bytes - offset;
    for (size_t i = 0; i < n / 2; i++) out[offset + i] ^= 0x5a; /* rewrite a part */
    assert_vk_ok(pum_vk_buffer_write(d, &b, offset, out + offset, n / 2, &err), err);
    memset(in, 0, bytes);
    assert_vk_ok(pum_vk_buffer_read(d, &b, offset, in, n, &err), err);
    assert_memory_equal(in, out + offset, n);
    size_t words = bytes / 4;
    if (words) {
        uint32_t word;
        assert_vk_ok(pum_vk_buffer_fill(d, &b, 0, words * 4, 0x01020304u, &err), err);
        assert_vk_ok(pum_vk_buffer_read(d, &b, (words - 1) * 4, &word, 4, &err), err);
        assert_int_equal(word, 0x01020304u);
        assert_vk_ok(pum_vk_buffer_fill(d, &b, 0, 4, 0, &err), err);
        assert_vk_ok(pum_vk_buffer_read(d, &b, 0, in, bytes, &err), err);
        assert_int_equal(in[0], 0);
        if (bytes > words * 4) assert_int_equal(in[bytes - 1], out[bytes - 1]);
    }
    check_stream(d, &b, out, in, bytes);
    if (use == PUM_VK_DEVICE && bytes >= 4096) check_moves(d, &b, out, in, bytes);
    pum_vk_buffer_destroy(d, &b);
    assert_null(b.buffer);
    pum_vk_buffer_destroy(d, &b); /* again does nothing */
    free(out);
    free(in);
}

static void check_buffers(uint32_t disable)
{
    enum { CHUNK = 4 << 20 };
    static const size_t sizes[] = { 1, 4, 7, 4096, CHUNK - 3, CHUNK, 5 * CHUNK + 13, 9 * CHUNK };
    vk_log log = { 0 };
    pum_vk_params p = vk_params(&log, disable);
    pum_vk_device *d = vk_open(&p);
    for (size_t i = 0; i < PUM_COUNT(sizes); i++) {
        check_buffer(d, PUM_VK_DEVICE, sizes[i], 0);
        check_buffer(d, PUM_VK_DEVICE, sizes[i], sizes[i] / 3);
    }
    check_buffer(d, PUM_VK_SHARED, 12345, 17);
    check_buffer(d, PUM_VK_READBACK, 123456, 3);
    assert_true(pum_vk_device_used_bytes(d)
                <= 5 * CHUNK); /* nothing but the staging ring is left */
    close_device(&d, &log);
}

static void test_buffers_mapped(void **state)
{
    (void)state;
    check_buffers(0);
}

static void test_buffers_staged(void **state)
{
    (void)state;
    check_buffers(PUM_CAP_UNIFIED);
}

static void test_buffers_staged_with_fences(void **state)
{
    (void)state;
    check_buffers(PUM_CAP_UNIFIED | PUM_CAP_TIMELINE);
}

/* Views that a driver which compiles at the first dispatch compiles again for have other lengths than asked for. */
static void check_texel_ranges(const char *quirk, bool late)
{
    static const uint64_t sizes[] = { 48, 4096, 65536, 65536 + 160, 65536 + 256, 1 << 20, 3 << 16 };
    vk_log log = { 0 };
    pum_vk_params p = vk_params(&log, 0);
    assert_true(pum_caps_wishes_parse(NULL, NULL, quirk, &p.wishes, NULL));
    pum_vk_device *d = vk_open(&p);
    bool texels = pum_vk_device_caps(d)->bits & PUM_CAP_TEXEL;
    for (size_t i = 0; texels && i < PUM_COUNT(sizes); i++) {
        pumice_error err = { 0 };
        pum_vk_buffer b;
        VkBufferView view;
        uint64_t offset = i % 2 ? 0 : 4096, bytes = sizes[i];
        assert_vk_ok(pum_vk_buffer_create(d, PUM_VK_DEVICE, offset + bytes, "texels", &b, &err), err);
        assert_int_equal(b.size_bytes, offset + bytes);
        uint64_t whole = b.size_bytes + b.spare_bytes, range = pum_vk_texel_range(d, &b, offset, bytes);
        if (late) {
            assert_true(whole & (whole - 1));
            assert_true(range >> 8 & 0xff);
            assert_true(range >= bytes && range <= bytes + 256);
        } else {
            assert_int_equal(range, bytes);
        }
        assert_int_equal(pum_vk_texel_range(d, &b, offset, 40), late ? 288 : 32); /* whole texels */
        VkBufferViewCreateInfo info = { .sType = VK_STRUCTURE_TYPE_BUFFER_VIEW_CREATE_INFO,
                                        .buffer = b.buffer,
                                        .format = VK_FORMAT_R32G32B32A32_UINT,
                                        .offset = offset,
                                        .range = range };
        assert_int_equal(pum_vk_table(d)->vkCreateBufferView(pum_vk_handle(d), &info, NULL, &view), VK_SUCCESS);
        pum_vk_table(d)->vkDestroyBufferView(pum_vk_handle(d), view, NULL);
        pum_vk_buffer_destroy(d, &b);
    }
    close_device(&d, &log);
}

static void test_texel_ranges(void **state)
{
    (void)state;
    check_texel_ranges("lavapipe-late-compile=on", true);
    check_texel_ranges("lavapipe-late-compile=off", false);
}

static void test_buffer_errors(void **state)
{
    (void)state;
    vk_log log = { 0 };
    pumice_error err = { 0 };
    pum_vk_params p = vk_params(&log, 0);
    p.memory_budget_bytes = 8 << 20;
    pum_vk_device *d = vk_open(&p);
    pum_vk_buffer a, b;
    uint8_t byte = 0;
    assert_vk_ok(pum_vk_buffer_create(d, PUM_VK_DEVICE, (5 << 20) - 1000, "the first", &a, &err), err);
    memset(&b, 1, sizeof b);
    assert_int_equal(pum_vk_buffer_create(d, PUM_VK_DEVICE, 4 << 20, "the second", &b, &err),
                     PUMICE_ERROR_DEVICE_MEMORY);
    print_message("%s\n", err.text);
    assert_non_null(strstr(err.text, "the second"));
    assert_non_null(strstr(err.text, "4 MiB asked"));
    assert_non_null(strstr(err.text, "5 MiB used"));
    assert_non_null(strstr(err.text, "8 MiB allowed"));
    assert_null(b.buffer);
    assert_null(b.memory);
    assert_null(b.mapped);
    pum_error_clear(&err);
    uint64_t most = pum_vk_device_caps(d)->max_allocation_bytes;
    assert_int_equal(pum_vk_buffer_create(d, PUM_VK_DEVICE, most + 1, "a giant", &b, &err),
                     PUMICE_ERROR_DEVICE_MEMORY);
    print_message("%s\n", err.text);
    assert_non_null(strstr(err.text, "a giant"));
    pum_error_clear(&err);
    assert_int_equal(pum_vk_buffer_create(d, PUM_VK_DEVICE, 0, "nothing", &b, &err),
                     PUMICE_ERROR_INTERNAL);
    pum_error_clear(&err);
    assert_int_equal(pum_vk_buffer_read(d, &a, a.size_bytes, &byte, 1, &err),
                     PUMICE_ERROR_INTERNAL);
    pum_error_clear(&err);
    assert_int_equal(pum_vk_buffer_write(d, &a, UINT64_MAX, &byte, 1, &err), PUMICE_ERROR_INTERNAL);
    pum_error_clear(&err);
    assert_int_equal(pum_vk_buffer_fill(d, &a, 2, 4, 0, &err), PUMICE_ERROR_INTERNAL);
    pum_error_clear(&err);
    const pum_vk_move beyond[] = { { 0, 8, 4 }, { 0, a.size_bytes - 3, 4 } };
    assert_int_equal(pum_vk_buffer_move(d, &a, beyond, 2, &err), PUMICE_ERROR_INTERNAL);
    pum_error_clear(&err);
    assert_vk_ok(pum_vk_buffer_move(d, &a, beyond, 0, &err), err);
    assert_vk_ok(pum_vk_buffer_read(d, &a, a.size_bytes, &byte, 0, &err), err);
    pum_vk_buffer_destroy(d, &a);
    assert_int_equal(pum_vk_device_used_bytes(d), 0);
    assert_vk_ok(pum_vk_buffer_create(d, PUM_VK_DEVICE, 7 << 20, "the second", &a, &err), err);
    pum_vk_buffer_destroy(d, &a);
    close_device(&d, &log);
    /* without a budget the heap is the bound of one allocation */
    p.memory_budget_bytes = 0;
    d = vk_open(&p);
    const pum_caps *c = pum_vk_device_caps(d);
    if (c->max_allocation_bytes > c->local_heap_bytes + (64 << 20)) {
        assert_int_equal(pum_vk_buffer_create(d, PUM_VK_DEVICE, c->local_heap_bytes + (32 << 20),
                                              "more than there is", &b, &err),
                         PUMICE_ERROR_DEVICE_MEMORY);
    }
    close_device(&d, &log);
}

/* ---- plans ---- */

typedef struct recorded {
    pum_vk_device *device;
    pum_vk_buffer arena;
    pum_exec *exec;
} recorded;

static void record(recorded *r, pum_vk_device *device, bool cut, bool profile)
{
    pumice_error err = { 0 };
    pum_plan plan;
    *r = (recorded){ .device = device };
    vk_counter_plan(&plan, cut);
    assert_vk_ok(
        pum_vk_buffer_create(device, PUM_VK_DEVICE, plan.arena_bytes, "arena", &r->arena, &err),
        err);
    assert_vk_ok(pum_vk_buffer_fill(device, &r->arena, 0, plan.arena_bytes, 0, &err), err);
    vk_fill_floats(device, &r->arena, 1, 1.0f);
    pum_exec_buffers buffers = { .arena = &r->arena };
    assert_vk_ok(pum_exec_create(device, &plan, &buffers, profile, &r->exec, &err), err);
    pum_plan_free(&plan);
}

static void recorded_free(recorded *r)
{
    pum_exec_destroy(&r->exec);
    pum_vk_buffer_destroy(r->device, &r->arena);
}

static void check_replay(uint32_t disable, bool cut)
{
    enum { RUNS = 50, IN_FLIGHT = 6, ROUNDS = 100 };
    vk_log log = { 0 };
    pumice_error err = { 0 };
    recorded r;
    pum_vk_params p = vk_params(&log, disable);
    pum_vk_device *d = vk_open(&p);
    assert_int_equal(pum_vk_device_caps(d)->bits & disable, 0);
    record(&r, d, cut, false);
    for (int i = 0; i < RUNS; i++) assert_vk_ok(pum_exec_run(r.exec, NULL, &err), err);
    vk_assert_floats(d, &r.arena, 0, RUNS);
    /* several passes in flight, recorded once; waited for in order and out of order */
    uint64_t ticket[IN_FLIGHT], highest = 0;
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < IN_FLIGHT; i++) {
            assert_vk_ok(pum_exec_submit(r.exec, NULL, &ticket[i], &err), err);
            assert_true(ticket[i] > highest);
            highest = ticket[i];
        }
        if (round % 2) {
            assert_vk_ok(pum_vk_wait(d, ticket[2], &err), err);
            assert_true(pum_vk_done(d, ticket[2]) && pum_vk_done(d, ticket[0]));
        }
        assert_vk_ok(pum_vk_wait(d, ticket[IN_FLIGHT - 1], &err), err);
        for (int i = IN_FLIGHT; i-- > 0;) assert_vk_ok(pum_vk_wait(d, ticket[i], &err), err);
        assert_true(pum_vk_done(d, highest));
        assert_false(pum_vk_done(d, highest + 1));
    }
    vk_assert_floats(d, &r.arena, 0, RUNS + IN_FLIGHT * ROUNDS);
    assert_int_equal(pum_vk_wait(d, highest + 1000000, &err), PUMICE_ERROR_INTERNAL);
    assert_vk_ok(pum_exec_submit(r.exec, NULL, &ticket[0], &err),
                 err); /* still running when destroyed */
    recorded_free(&r);
    close_device(&d, &log);
}

static void test_replay_timeline(void **state)
{
    (void)state;
    check_replay(0, false);
    check_replay(0, true);
}

static void test_replay_fences(void **state)
{
    (void)state;
    check_replay(PUM_CAP_TIMELINE, false);
    check_replay(PUM_CAP_TIMELINE, true);
}

static void test_replay_staged(void **state)
{
    (void)state;
    check_replay(PUM_CAP_UNIFIED, true);
    check_replay(UINT32_MAX, true); /* nothing optional at all */
}

static void test_cancel(void **state)
{
    (void)state;
    vk_log log = { 0 };
    pumice_error err = { 0 };
    recorded r;
    pum_vk_params p = vk_params(&log, 0);
    pum_vk_device *d = vk_open(&p);
    record(&r, d, true, false);
    atomic_int cancel;
    atomic_init(&cancel, 1);
    uint64_t ticket = 9;
    assert_int_equal(pum_exec_run(r.exec, &cancel, &err), PUMICE_ERROR_CANCELLED);
    pum_error_clear(&err);
    assert_int_equal(pum_exec_submit(r.exec, &cancel, &ticket, &err), PUMICE_ERROR_CANCELLED);
    assert_int_equal(ticket, 0);
    pum_error_clear(&err);
    atomic_store(&cancel, 0);
    assert_vk_ok(pum_exec_run(r.exec, &cancel, &err), err);
    vk_assert_floats(d, &r.arena, 0, 1.0f);
    recorded_free(&r);
    close_device(&d, &log);
}

static void check_times(bool cut)
{
    vk_log log = { 0 };
    pumice_error err = { 0 };
    recorded r;
    pum_vk_params p = vk_params(&log, 0);
    pum_vk_device *d = vk_open(&p);
    uint64_t begin[3], ns[3], sum = 0;
    if (!(pum_vk_device_caps(d)->bits & PUM_CAP_TIMESTAMPS)) skip();
    record(&r, d, cut, true);
    assert_int_equal(pum_exec_step_times(r.exec, begin, ns, 3, &err),
                     PUMICE_ERROR_INVALID); /* not yet run */
    pum_error_clear(&err);
    assert_vk_ok(pum_exec_run(r.exec, NULL, &err), err); /* drivers compile at the first run */
    uint64_t t0 = pum_now_ns();
    assert_vk_ok(pum_exec_run(r.exec, NULL, &err), err);
    uint64_t wall = pum_now_ns() - t0;
    assert_vk_ok(pum_exec_step_times(r.exec, begin, ns, 3, &err), err);
    assert_int_equal(begin[0], 0);
    for (int i = 0; i < 3; i++) {
        if (i) assert_true(begin[i] >= begin[i - 1] + ns[i - 1]);
        assert_true(ns[i] > 0);
        sum += ns[i];
    }
    print_message("steps of %llu, %llu, %llu ns in %llu ns\n", (ull)ns[0], (ull)ns[1], (ull)ns[2],
                  (ull)wall);
    assert_true(sum <= wall);
    assert_int_equal(pum_exec_step_times(r.exec, begin, ns, 2, &err), PUMICE_ERROR_INVALID);
    recorded_free(&r);
    close_device(&d, &log);
}

static void test_times(void **state)
{
    (void)state;
    check_times(false);
    check_times(true);
}

static void test_times_need_timestamps(void **state)
{
    (void)state;
    vk_log log = { 0 };
    pumice_error err = { 0 };
    pum_vk_params p = vk_params(&log, PUM_CAP_TIMESTAMPS);
    pum_vk_device *d = vk_open(&p);
    pum_vk_buffer arena;
    pum_plan plan;
    pum_exec *exec = NULL;
    vk_counter_plan(&plan, false);
    assert_vk_ok(pum_vk_buffer_create(d, PUM_VK_DEVICE, plan.arena_bytes, "arena", &arena, &err),
                 err);
    pum_exec_buffers buffers = { .arena = &arena };
    assert_int_equal(pum_exec_create(d, &plan, &buffers, true, &exec, &err),
                     PUMICE_ERROR_UNSUPPORTED);
    assert_null(exec);
    /* plans that name what is not there are refused before anything is recorded */
    pum_error_clear(&err);
    plan.steps.data[1].bind[0].buffer = PUM_BUFFER_WEIGHT + 3;
    assert_int_equal(pum_exec_create(d, &plan, &buffers, false, &exec, &err),
                     PUMICE_ERROR_INTERNAL);
    pum_error_clear(&err);
    plan.steps.data[1].kernel = PUM_KERNEL_COUNT;
    assert_int_equal(pum_exec_create(d, &plan, &buffers, false, &exec, &err),
                     PUMICE_ERROR_INTERNAL);
    pum_error_clear(&err);
    plan.steps.count = 0;
    assert_int_equal(pum_exec_create(d, &plan, &buffers, false, &exec, &err),
                     PUMICE_ERROR_INTERNAL);
    pum_plan_free(&plan);
    pum_vk_buffer_destroy(d, &arena);
    close_device(&d, &log);
}

/* ---- check mode ---- */

static void test_check_mode(void **state)
{
    (void)state;
    vk_log log = { 0 };
    pumice_error err = { 0 };
    pum_vk_params p = vk_params(&log, 0);
    pum_vk_device *d = vk_open(&p);
    pum_vk_buffer arena;
    pum_plan plan;
    pum_exec_check check;
    vk_counter_plan(&plan, true);
    assert_vk_ok(pum_vk_buffer_create(d, PUM_VK_DEVICE, plan.arena_bytes, "arena", &arena, &err),
                 err);
    assert_vk_ok(pum_vk_buffer_fill(d, &arena, 0, plan.arena_bytes, 0, &err), err);
    vk_fill_floats(d, &arena, 0, 0.1f);
    vk_fill_floats(d, &arena, 1, 0.7f);
    pum_exec_buffers buffers = { .arena = &arena };
    assert_vk_ok(pum_exec_check_run(d, &plan, &buffers, &check, &err), err);
    if (check.bad) {
        fail_msg("step %zu '%s' %s[%llu]: %g, not %g", check.step, check.label, check.binding,
                 (ull)check.element, check.got, check.want);
    }
    assert_int_equal(check.n_steps, 3);
    assert_true(check.worst <= 1.0);
    /* A fault: the copy's grid leaves its tail out, as a broken shader would. */
    plan.steps.data[1].grid[0] = 2;
    assert_vk_ok(pum_vk_buffer_fill(d, &arena, 2 * VK_SLOT_BYTES, 2 * VK_SLOT_BYTES, 0, &err), err);
    assert_vk_ok(pum_exec_check_run(d, &plan, &buffers, &check, &err), err);
    assert_true(check.bad);
    assert_int_equal(check.step, 1);
    assert_string_equal(check.kernel, "copy_base");
    assert_string_equal(check.binding, "y");
    assert_int_equal(check.n_bad, VK_COLS - 64);
    assert_true(check.worst > 1.0);
    pum_plan_free(&plan);
    pum_vk_buffer_destroy(d, &arena);
    close_device(&d, &log);
}

/* ---- pipelines ---- */

static long file_bytes(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (long)st.st_size : -1;
}

/* The one cache file of a folder that did not exist before. */
static void cache_file(const char *folder, char out[TEST_PATH_BYTES])
{
    char command[TEST_PATH_BYTES];
    snprintf(command, sizeof command, "ls %.900s/*.bin", folder);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    out[0] = '\0';
    if (fgets(out, TEST_PATH_BYTES, f)) out[strcspn(out, "\n")] = '\0';
    assert_null(fgets(command, sizeof command, f)); /* one file only */
    pclose(f);
}

static void run_with_cache(const char *folder)
{
    vk_log log = { 0 };
    pumice_error err = { 0 };
    recorded r;
    pum_vk_params p = vk_params(&log, 0);
    p.cache_dir = folder;
    pum_vk_device *d = vk_open(&p);
    record(&r, d, false, false);
    assert_vk_ok(pum_exec_run(r.exec, NULL, &err), err);
    vk_assert_floats(d, &r.arena, 0, 1.0f);
    recorded_free(&r);
    close_device(&d, &log);
}

static void spoil(const char *path, long at, int cut)
{
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    if (cut) {
        assert_int_equal(ftruncate(fileno(f), at), 0);
    } else {
        fseek(f, at, SEEK_SET);
        int c = fgetc(f);
        fseek(f, at, SEEK_SET);
        fputc(c ^ 0x40, f);
    }
    fclose(f);
}

static void test_pipeline_cache(void **state)
{
    (void)state;
    char base[] = "/tmp/pumice-test-XXXXXX", folder[64], path[TEST_PATH_BYTES], command[128];
    assert_non_null(mkdtemp(base));
    snprintf(folder, sizeof folder, "%s/deep/er", base);
    run_with_cache(folder);
    cache_file(folder, path);
    long bytes = file_bytes(path);
    print_message("cache of %ld bytes: %s\n", bytes, path);
    assert_true(bytes >= 56);
    run_with_cache(folder); /* a hit */
    assert_true(file_bytes(path) >= 56);
    const struct {
        long at;
        int cut;
    } faults[] = { { 0, 0 },         { 9, 0 },         { 17, 0 }, { 24 + 17, 0 },
                   { bytes - 1, 0 }, { bytes - 1, 1 }, { 20, 1 }, { 0, 1 } };
    for (size_t i = 0; i < PUM_COUNT(faults); i++) {
        spoil(path, faults[i].at, faults[i].cut);
        run_with_cache(folder);
        assert_true(file_bytes(path) >= 56); /* replaced */
    }
    /* a folder that cannot be written is no fault: it is a file here, which root cannot write into
     * either */
    snprintf(command, sizeof command, "%s/deep/er/file", base);
    fclose(fopen(command, "w"));
    run_with_cache(command);
    snprintf(command, sizeof command, "rm -r %s", base);
    assert_int_equal(system(command), 0);
}

static void test_pipelines(void **state)
{
    (void)state;
    vk_log log = { 0 };
    pumice_error err = { 0 };
    pum_vk_params p = vk_params(&log, 0);
    pum_vk_device *d = vk_open(&p);
    pum_vk_pipeline_key keys[100];
    pum_vk_pipeline a, b;
    for (uint32_t i = 0; i < PUM_COUNT(keys); i++) { /* many keys, some twice: the map grows */
        keys[i] = (pum_vk_pipeline_key){ .kernel = i % 2 ? PUM_KERNEL_add_base
                                                         : PUM_KERNEL_copy_base };
        keys[i].spec[0] = 1 + i % 90;
    }
    assert_vk_ok(pum_vk_pipelines_prepare(d, keys, PUM_COUNT(keys), &err), err);
    for (uint32_t i = 0; i < PUM_COUNT(keys); i++) {
        assert_vk_ok(pum_vk_pipeline_get(d, &keys[i], &a, &err), err);
        assert_vk_ok(pum_vk_pipeline_get(d,
                                         &keys[i % 90
                                               + (i >= 90  ? 0
                                                  : i < 10 ? 90
                                                           : 0)],
                                         &b, &err),
                     err);
        assert_true(a.pipeline && a.layout && a.set_layout);
        assert_true(a.pipeline == b.pipeline);
    }
    keys[0].kernel = PUM_KERNEL_COUNT;
    assert_int_equal(pum_vk_pipelines_prepare(d, keys, 1, &err), PUMICE_ERROR_INTERNAL);
    close_device(&d, &log);
    /* a kernel that needs what was switched off */
    p.disable_bits = PUM_CAP_SUBGROUP;
    d = vk_open(&p);
    keys[0] = (pum_vk_pipeline_key){ .kernel = PUM_KERNEL_softmax_sub, .spec = { 32 } };
    pum_error_clear(&err);
    assert_int_equal(pum_vk_pipeline_get(d, &keys[0], &a, &err), PUMICE_ERROR_INTERNAL);
    close_device(&d, &log);
}

/* ---- threads ---- */

typedef struct thread_job {
    pum_vk_device *device; /* NULL = open one */
    uint32_t disable;
    int failures;
} thread_job;

static void *use_device(void *user)
{
    enum { RUNS = 30 };
    thread_job *j = user;
    vk_log log = { 0 };
    pumice_error err = { 0 };
    pum_vk_params p = vk_params(&log, j->disable);
    pum_vk_device *d = j->device;
    pum_vk_buffer arena = { 0 };
    pum_exec *exec = NULL;
    pum_plan plan;
    float ones[VK_COLS], out[VK_COLS];
    for (int i = 0; i < VK_COLS; i++) ones[i] = 1.0f;
    vk_counter_plan(&plan, true);
    bool ok = d || pum_vk_device_create(&p, &d, &err) == PUMICE_OK;
    ok = ok
         && pum_vk_buffer_create(d, PUM_VK_DEVICE, plan.arena_bytes, "arena", &arena, &err)
                == PUMICE_OK
         && pum_vk_buffer_fill(d, &arena, 0, plan.arena_bytes, 0, &err) == PUMICE_OK
         && pum_vk_buffer_write(d, &arena, VK_SLOT_BYTES, ones, sizeof ones, &err) == PUMICE_OK
         && pum_exec_create(d, &plan, &(pum_exec_buffers){ .arena = &arena }, false, &exec, &err)
                == PUMICE_OK;
    for (int i = 0; i < RUNS && ok; i++) ok = pum_exec_run(exec, NULL, &err) == PUMICE_OK;
    ok = ok && pum_vk_buffer_read(d, &arena, 0, out, sizeof out, &err) == PUMICE_OK
         && out[0] == RUNS && out[VK_COLS - 1] == RUNS;
    pum_exec_destroy(&exec);
    if (d) pum_vk_buffer_destroy(d, &arena);
    if (!j->device) pum_vk_device_destroy(&d);
    pum_plan_free(&plan);
    if (!ok) print_message("thread: %s\n", err.text);
    j->failures = !ok + log.errors;
    return NULL;
}

static void run_threads(pum_vk_device *device, uint32_t disable)
{
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    thread_job jobs[THREADS];
    for (int i = 0; i < THREADS; i++) {
        jobs[i] = (thread_job){ .device = device, .disable = disable };
        assert_int_equal(pthread_create(&threads[i], NULL, use_device, &jobs[i]), 0);
    }
    int failures = 0;
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        failures += jobs[i].failures;
    }
    assert_int_equal(failures, 0);
}

static void test_threads_on_one_device(void **state)
{
    (void)state;
    static const uint32_t disable[] = { 0, PUM_CAP_TIMELINE | PUM_CAP_UNIFIED };
    for (size_t i = 0; i < PUM_COUNT(disable); i++) {
        vk_log log = { 0 };
        pum_vk_params p = vk_params(&log, disable[i]);
        pum_vk_device *d = vk_open(&p);
        run_threads(d, disable[i]);
        close_device(&d, &log);
    }
}

static void test_threads_with_own_devices(void **state)
{
    (void)state;
    run_threads(NULL, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_select),
        cmocka_unit_test(test_broken_loader),
        cmocka_unit_test(test_buffers_mapped),
        cmocka_unit_test(test_buffers_staged),
        cmocka_unit_test(test_buffers_staged_with_fences),
        cmocka_unit_test(test_texel_ranges),
        cmocka_unit_test(test_buffer_errors),
        cmocka_unit_test(test_replay_timeline),
        cmocka_unit_test(test_replay_fences),
        cmocka_unit_test(test_replay_staged),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_times_need_timestamps),
        cmocka_unit_test(test_check_mode),
        cmocka_unit_test(test_pipelines),
        cmocka_unit_test(test_pipeline_cache),
        cmocka_unit_test(test_threads_on_one_device),
        cmocka_unit_test(test_threads_with_own_devices),
    };
    test_keep_modules();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
