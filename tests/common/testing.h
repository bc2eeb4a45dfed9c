/* SPDX-License-Identifier: Apache-2.0
 * What tests share: cmocka with its headers, paths of data and models, opening a device the way all
 * tests do (validation on, no pipeline cache on disk), skipping with a message. */
#ifndef TESTING_H
#define TESTING_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* RTLD_NODELETE */
#endif

#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <pumice/pumice_profile.h>

#define TEST_PATH_BYTES 1024

/* Path of a file in the data folder (PUMICE_TEST_DATA); false, with a message, if it is not there.
 */
static inline int test_data(const char *name, char out[TEST_PATH_BYTES])
{
    const char *folder = getenv("PUMICE_TEST_DATA");
    if (folder && folder[0]) {
        snprintf(out, TEST_PATH_BYTES, "%s/%s", folder, name);
        if (access(out, R_OK) == 0) return 1;
    }
    print_message("skipped: no test data '%s' (set PUMICE_TEST_DATA)\n", name);
    return 0;
}

/* Path of a file of the project (PUMICE_SOURCE_ROOT). */
static inline void test_source(const char *name, char out[TEST_PATH_BYTES])
{
    const char *root = getenv("PUMICE_SOURCE_ROOT");
    snprintf(out, TEST_PATH_BYTES, "%s/%s", root ? root : ".", name);
}

static inline void test_log(void *user, pumice_log_level level, const char *text)
{
    (void)user;
    if (level <= PUMICE_LOG_WARNING)
        print_message("[%s] %s\n", level == PUMICE_LOG_ERROR ? "error" : "warning", text);
}

static inline void test_log_strictly(void *user, pumice_log_level level, const char *text)
{
    test_log(user, level, text);
    if (level == PUMICE_LOG_WARNING) fail_msg("%s", text);
}

/* Opens a device with these parameters and what all tests want: no cache on disk, a log unless there is one. */
static inline pumice_device *test_device_open(pumice_device_params p)
{
    pumice_device *device = NULL;
    pumice_error err = { 0 };
    p.struct_size = sizeof p;
    p.no_cache = 1;
    if (!p.log) p.log = test_log;
    if (getenv("PUMICE_TEST_NO_VALIDATION")) p.validation = 0;
    if (pumice_device_create(&p, &device, &err) != PUMICE_OK) fail_msg("no device: %s", err.text);
    return device;
}

/* Opens the driver's device with validation where the layer is installed, or without if
 * `validation` is 0; with the self-test of kernels, which must find nothing, or without. */
static inline pumice_device *test_device_proving(const char *disable, int validation, int self_test)
{
    return test_device_open((pumice_device_params){ .disable = disable,
                                                    .no_self_test = !self_test,
                                                    .log = self_test ? test_log_strictly : test_log,
                                                    .validation = validation != 0 });
}

static inline pumice_device *test_device(const char *disable, int validation)
{
    return test_device_proving(disable, validation, 0);
}

/* Opens a device once and pins every library that is loaded then (drivers, layers, what they use),
 * so that a leak checker can still name them at the end and its suppressions match. Linux;
 * elsewhere it does nothing. */
static inline void test_keep_modules(void)
{
    pumice_device_params p = { .struct_size = sizeof p,
                               .no_cache = 1,
                               .validation = !getenv("PUMICE_TEST_NO_VALIDATION") };
    pumice_device *device = NULL;
    if (pumice_device_create(&p, &device, NULL) != PUMICE_OK) return; /* the tests will say so */
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[TEST_PATH_BYTES];
    while (maps && fgets(line, sizeof line, maps)) {
        char *path = strchr(line, '/');
        if (!path || !strstr(path, ".so")) continue;
        path[strcspn(path, "\n")] = '\0';
        (void)dlopen(path,
                     RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE); /* the handle is kept on purpose */
    }
    if (maps) fclose(maps);
    pumice_device_destroy(&device);
}

static inline pumice_model *test_model(pumice_device *device, const char *path)
{
    pumice_model *model = NULL;
    pumice_error err = { 0 };
    pumice_model_params p = { .struct_size = sizeof p, .path = path };
    if (pumice_model_load(device, &p, &model, &err) != PUMICE_OK)
        fail_msg("%s: %s", path, err.text);
    return model;
}

/* The bundled model on a device of its own, and some tokens of it: BOS, then all kinds. */
static inline void test_open_bundled(pumice_device **out_device, pumice_model **out_model, pumice_model_info *out_info,
                                     int32_t *out_tokens, uint32_t count)
{
    char path[TEST_PATH_BYTES];
    test_keep_modules();
    test_source("models/pumice-stories.gguf", path);
    *out_device = test_device(NULL, 1);
    *out_model = test_model(*out_device, path);
    out_info->struct_size = sizeof *out_info;
    if (pumice_model_get_info(*out_model, out_info) != PUMICE_OK) fail_msg("no facts about %s", path);
    for (uint32_t i = 0; i < count; i++) {
        out_tokens[i] = i ? (int32_t)(3 + 37 * i % (out_info->n_vocab - 3)) : out_info->token_bos;
    }
}

static inline pumice_session *test_session(pumice_model *model, const pumice_session_params *params)
{
    pumice_session *session = NULL;
    pumice_error err = { 0 };
    if (pumice_session_create(model, params, &session, &err) != PUMICE_OK)
        fail_msg("no session: %s", err.text);
    return session;
}

#define assert_pumice_ok(session, expr)                                                            \
    do {                                                                                           \
        pumice_status status_ = (expr);                                                            \
        if (status_ != PUMICE_OK)                                                                  \
            fail_msg("%s: %s: %s", #expr, pumice_status_name(status_),                             \
                     pumice_session_error(session));                                               \
    } while (0)

#endif
