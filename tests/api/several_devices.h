/* SPDX-License-Identifier: Apache-2.0
 * Devices for tests of models that are cut for several: those of the drivers that VK_DRIVER_FILES names,
 * each also twice. Opened once and shared, or anew with a budget or with calls that fail. */
#ifndef SEVERAL_DEVICES_H
#define SEVERAL_DEVICES_H

#include <stdbool.h>

#include "fault_vk.h"
#include "testing.h"

enum { MAX_DEVICES = 3 };

/* Index of the driver number `which` in the loader's list: lavapipe is the first, since the other
 * compiles slowly. */
static uint32_t driver_index[2];

static inline uint32_t n_drivers(void)
{
    uint32_t n = 0;
    pumice_error err = { 0 };
    pumice_device_info infos[2] = { { .struct_size = sizeof infos[0] } };
    if (pumice_device_list(NULL, infos, 2, &n, &err)) fail_msg("%s", err.text);
    bool swap = n > 1 && strstr(infos[1].name, "llvmpipe");
    driver_index[0] = swap;
    driver_index[1] = !swap;
    return n;
}

/* ---- devices and models ---- */

typedef struct setup {
    pumice_device *devices[MAX_DEVICES];
    uint32_t n;
    pumice_model *model;
} setup;

static inline pumice_device *open_device(uint32_t which, bool faulty, uint64_t budget)
{
    char select[16];
    snprintf(select, sizeof select, "%u", driver_index[which]);
    return test_device_open((pumice_device_params){
        .select = select,
        .memory_budget_bytes = budget,
        .get_instance_proc_addr = faulty ? fault_vk_loader() : NULL,
        .validation = 1 });
}

/* Devices that tests share, since some drivers take seconds to compile what one keeps: of driver
 * number `which` the copy number `copy`. */
static pumice_device *pool[2][MAX_DEVICES];

static inline pumice_device *pooled(uint32_t which, uint32_t copy)
{
    if (!pool[which][copy]) pool[which][copy] = open_device(which, false, 0);
    return pool[which][copy];
}

static inline int close_pool(void **state)
{
    (void)state;
    for (int i = 0; i < 2 * MAX_DEVICES; i++) {
        pumice_device **d = &pool[i / MAX_DEVICES][i % MAX_DEVICES];
        assert_int_equal(*d ? pumice_device_validation_count(*d) : 0, 0);
        pumice_device_destroy(d);
    }
    return 0;
}

static const uint32_t one[] = { 0 }, twice[] = { 0, 0 }, mixed[] = { 0, 1 }, back[] = { 1, 0 },
                      three[] = { 0, 1, 0 }, thrice[] = { 0, 0, 0 };

/* Shared devices of these drivers. */
static inline void take_devices(setup *s, const uint32_t *which, uint32_t n)
{
    uint32_t used[2] = { 0 };
    *s = (setup){ .n = n };
    for (uint32_t i = 0; i < n; i++) s->devices[i] = pooled(which[i], used[which[i]]++);
}

/* New devices of the first driver, with a budget (0 = none), number `faulty` through the loader that
 * fails on demand. */
static inline void open_devices(setup *s, uint32_t n, uint32_t faulty, uint64_t budget)
{
    *s = (setup){ .n = n };
    for (uint32_t i = 0; i < n; i++) s->devices[i] = open_device(0, i == faulty, budget);
}

static inline pumice_status load(setup *s, const char *path, const uint32_t *split, pumice_error *err)
{
    pumice_model_params p = { .struct_size = sizeof p, .path = path, .devices = s->devices,
                              .n_devices = s->n, .split = split };
    return pumice_model_load(NULL, &p, &s->model, err);
}

static inline void open_setup(setup *s, const char *path, const uint32_t *which, uint32_t n,
                       const uint32_t *split)
{
    pumice_error err = { 0 };
    take_devices(s, which, n);
    if (load(s, path, split, &err)) fail_msg("%s", err.text);
}

static inline void close_devices(setup *s)
{
    pumice_model_destroy(&s->model);
    for (uint32_t i = 0; i < s->n; i++) pumice_device_destroy(&s->devices[i]);
}

/* Every Vulkan call of the second of two devices fails once while a session of `p` is made and does `work`. */
static inline void check_every_call(const char *path, const uint32_t *split, const pumice_session_params *p,
                                    pumice_status (*work)(pumice_session *session))
{
    setup s;
    pumice_error err = { 0 };
    open_devices(&s, 2, 1, 0);
    if (load(&s, path, split, &err)) fail_msg("%s", err.text);
    long n = 1, failures = 0;
    for (;; n += 1 + n / 8) {
        pumice_session *session = NULL;
        err = (pumice_error){ 0 };
        fault_vk_arm(n, VK_ERROR_OUT_OF_HOST_MEMORY);
        pumice_status status = pumice_session_create(s.model, p, &session, &err);
        if (status == PUMICE_OK) status = work(session);
        bool failed = fault_vk_failed() != NULL;
        if (status != PUMICE_OK) {
            failures++;
            assert_true(failed);
            assert_true((session ? pumice_session_error(session) : err.text)[0] != '\0');
        }
        pumice_session_destroy(&session);
        if (!failed) break; /* so many calls there are not */
    }
    print_message("%ld failures up to call %ld\n", failures, n);
    assert_true(failures > 5);
    fault_vk_arm(0, VK_SUCCESS);
    close_devices(&s);
    assert_int_equal(fault_vk_live(), 0);
}

#endif
