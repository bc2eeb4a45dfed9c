/* SPDX-License-Identifier: Apache-2.0
 * What tests of vk/ and exec/ share: a device opened on the inner interface with its log counted,
 * and tiny plans made by hand of the kernels add and copy. Everything else comes from
 * tests/common/testing.h. */
#ifndef VK_TOOLS_H
#define VK_TOOLS_H

#include "args.h"
#include "exec.h"
#include "quirks.h"
#include "testing.h"

typedef struct vk_log {
    int errors; /* validation messages among them, those of the device's end too */
    char last[512];
} vk_log;

static inline void vk_on_log(void *user, pumice_log_level level, const char *text)
{
    vk_log *log = user;
    if (level == PUMICE_LOG_ERROR) {
        log->errors++;
        print_message("[error] %s\n", text);
    }
    snprintf(log->last, sizeof log->last, "%s", text);
}

static inline int vk_want_validation(void) { return !getenv("PUMICE_TEST_NO_VALIDATION"); }

/* Quirks that are off: timeline semaphores wherever the device has them, so that tests choose. */
static inline uint32_t vk_quirks_off(void)
{
    uint32_t on, off;
    assert_true(pum_quirks_parse("lavapipe-timeline-wakes=off", &on, &off, NULL));
    return off;
}

static inline pum_vk_params vk_params(vk_log *log, uint32_t disable_bits)
{
    return (pum_vk_params){ .disable_bits = disable_bits,
                            .wishes = { .quirks_off = vk_quirks_off() },
                            .validation = vk_want_validation(),
                            .log = { vk_on_log, log } };
}

static inline pum_vk_device *vk_open(const pum_vk_params *params)
{
    pum_vk_device *device = NULL;
    pumice_error err = { 0 };
    if (pum_vk_device_create(params, &device, &err) != PUMICE_OK) {
        fail_msg("no device: %s", err.text);
    }
    return device;
}

#define assert_vk_ok(expr, err)                                                                    \
    do {                                                                                           \
        pumice_status status_ = (expr);                                                            \
        if (status_ != PUMICE_OK) fail_msg("%s: status %d: %s", #expr, (int)status_, (err).text);  \
    } while (0)

/* ---- plans over one arena; ranges of `cols` floats every `slot_bytes` bytes ---- */

enum { VK_SLOT_BYTES = 1024, VK_COLS = 200 };

static inline pum_binding vk_bind(uint32_t slot, uint8_t access)
{
    return (pum_binding){ .buffer = PUM_BUFFER_ARENA,
                          .access = access,
                          .offset_bytes = (uint64_t)slot * VK_SLOT_BYTES,
                          .size_bytes = VK_COLS * 4 };
}

/* slot y = slot a + slot b */
static inline pum_step vk_add(uint32_t a, uint32_t b, uint32_t y, bool wait, bool submit_end)
{
    pum_step s = { .kernel = PUM_KERNEL_add_base,
                   .grid = { (VK_COLS + 31) / 32, 1, 1 },
                   .barrier = wait,
                   .submit_end = submit_end,
                   .layer = -1 };
    pum_args_add args = { .cols = VK_COLS,
                          .rows = 1,
                          .a_stride = VK_COLS,
                          .b_stride = VK_COLS,
                          .y_stride = VK_COLS,
                          .scale = 1.0f };
    s.spec[0] = 32;
    s.bind[0] = vk_bind(a, PUM_ACCESS_R);
    s.bind[1] = vk_bind(b, PUM_ACCESS_R);
    s.bind[2] = vk_bind(y, PUM_ACCESS_W);
    memcpy(s.args, &args, sizeof args);
    snprintf(s.label, sizeof s.label, "add %u + %u", a, b);
    return s;
}

/* slot y = slot x */
static inline pum_step vk_copy(uint32_t x, uint32_t y, bool wait, bool submit_end)
{
    pum_step s = { .kernel = PUM_KERNEL_copy_base,
                   .grid = { (VK_COLS + 31) / 32, 1, 1 },
                   .barrier = wait,
                   .submit_end = submit_end,
                   .layer = -1 };
    pum_args_copy args = { .cols = VK_COLS, .rows = 1, .x_stride = VK_COLS, .y_stride = VK_COLS };
    s.spec[0] = 32;
    s.bind[0] = vk_bind(x, PUM_ACCESS_R);
    s.bind[1] = vk_bind(y, PUM_ACCESS_W);
    memcpy(s.args, &args, sizeof args);
    snprintf(s.label, sizeof s.label, "copy %u", x);
    return s;
}

/* slot 0 += slot 1, by way of slots 2 and 3, in three steps; with `cut`, of two submits. Slot 1 is
 * never written. */
static inline void vk_counter_plan(pum_plan *plan, bool cut)
{
    *plan = (pum_plan){ .arena_bytes = 4 * VK_SLOT_BYTES };
    assert_true(pum_array_push(&plan->steps, vk_add(0, 1, 2, true, cut)));
    assert_true(pum_array_push(&plan->steps, vk_copy(2, 3, true, false)));
    assert_true(pum_array_push(&plan->steps, vk_copy(3, 0, true, true)));
}

static inline void vk_fill_floats(pum_vk_device *device, pum_vk_buffer *buffer, uint32_t slot,
                                  float value)
{
    float words[VK_COLS];
    pumice_error err = { 0 };
    for (int i = 0; i < VK_COLS; i++) words[i] = value;
    assert_vk_ok(pum_vk_buffer_write(device, buffer, (uint64_t)slot * VK_SLOT_BYTES, words,
                                     sizeof words, &err),
                 err);
}

static inline void vk_assert_floats(pum_vk_device *device, pum_vk_buffer *buffer, uint32_t slot,
                                    float value)
{
    float words[VK_COLS];
    pumice_error err = { 0 };
    assert_vk_ok(pum_vk_buffer_read(device, buffer, (uint64_t)slot * VK_SLOT_BYTES, words,
                                    sizeof words, &err),
                 err);
    for (int i = 0; i < VK_COLS; i++) {
        if (words[i] != value) {
            fail_msg("element %d is %g, not %g", i, (double)words[i], (double)value);
        }
    }
}

#endif
