/* SPDX-License-Identifier: Apache-2.0
 * The golden directories on devices that are less than the one here: for every mask the original implementation's
 * greedy tokens, after a prompt of several pages but for one.
 *
 * usage: test_golden_masks [all | few | none | emulated]: every mask on every directory; some on a few; no mask, on
 * every; emulated subgroups of sizes that the device has not, on every or on a few */
#include "golden.h"
#include "subgroups_vk.h"

enum { TOKENS = 12 };

/* What each takes away; whether it is among the few; whether prompt and context are short. Those that change no
 * pipeline cost little. 64 MiB cut nothing of these models, 64 KiB their larger matrices. */
static const struct {
    const char *caps;
    int few, small;
} masks[] = {
    { "subgroup=1", 0, 0 },
    { "subgroup=16", 1, 0 },
    { "subgroup=32", 0, 0 },
    { "subgroup=64", 0, 0 },
    { "sub=0", 0, 0 },
    { "shared=16K,invocations=128", 0, 0 },
    { "range=64M,align=32", 0, 0 },
    { "range=64K", 0, 1 },
    { "unified=0", 0, 0 },
    { "unified=0,timeline=0", 0, 0 },
    { "unified=0,transfer=1", 0, 0 },
    { "subgroup=64,sub=0,shared=16K,invocations=128,range=64M,align=32,unified=0,transfer=1", 1, 0 },
};

/* Directories for drivers that take seconds to compile: grouped heads, experts, an encoder with biases. */
static const char *const few[] = { "llama2_gqa_sharded", "mixtral", "t5_v10" };

typedef struct run {
    pumice_device *device;
    const char *mask;
    int few, small;
} run;

static const json_t *case_named(const json_t *golden, const char *name)
{
    size_t i;
    json_t *one;
    json_array_foreach(json_object_get(golden, "cases"), i, one) {
        if (strcmp(json_string_value(json_object_get(one, "name")), name) == 0) return one;
    }
    fail_msg("no case %s", name);
    return NULL;
}

static int is_few(const char *name)
{
    for (size_t i = 0; i < sizeof few / sizeof *few; i++) {
        if (strcmp(few[i], name) == 0) return 1;
    }
    return 0;
}

static int check_directory(void *user, const char *folder, const char *name)
{
    const run *r = user;
    char path[2 * TEST_PATH_BYTES + 16], label[512];
    json_error_t e;
    if (r->few && !is_few(name)) return 0;
    snprintf(path, sizeof path, "%s/golden.json", folder);
    json_t *golden = json_load_file(path, 0, &e);
    assert_non_null(golden);
    const json_t *one = case_named(golden, r->small ? "short" : "long");
    const json_t *decoder = json_object_get(one, "decoder_input_ids");
    pumice_model *model = test_model(r->device, folder);
    pumice_session_params params = { .struct_size = sizeof params, .n_ctx_tokens = r->small ? 64 : 224,
                                     .n_batch_tokens = r->small ? 8 : 0,
                                     .kv_type_k = PUMICE_KV_F32, .kv_type_v = PUMICE_KV_F32 };
    pumice_session *s = test_session(model, &params);
    ids prompt = read_ids(decoder ? decoder : json_object_get(one, "input_ids"));
    if (decoder) prompt.count = 1; /* generation begins with the start token alone */
    snprintf(label, sizeof label, "%s under %s", name, r->mask ? r->mask : "no mask");
    int bad = golden_greedy(s, label, one, &prompt, TOKENS);
    pumice_session_destroy(&s);
    pumice_model_destroy(&model);
    json_decref(golden);
    return bad;
}

static int check_device(const char *root, run r, const char *caps, void *loader)
{
    const char *mask = r.mask;
    pumice_error err = { 0 };
    pumice_device_params p = { .struct_size = sizeof p, .caps = caps, .no_cache = 1,
                               .no_self_test = 1, .log = test_log, .get_instance_proc_addr = loader,
                               .quirks = loader ? "lavapipe-short-loops=on" : NULL,
                               .validation = !getenv("PUMICE_TEST_NO_VALIDATION") };
    if (pumice_device_create(&p, &r.device, &err) != PUMICE_OK) fail_msg("%s: no device: %s", mask, err.text);
    int bad = golden_each(root, &r, check_directory);
    uint64_t messages = pumice_device_validation_count(r.device);
    if (messages) print_message("%s: %llu validation messages\n", mask, (unsigned long long)messages);
    pumice_device_destroy(&r.device);
    return bad + (messages != 0);
}

static int check_mask(const char *root, const char *mask, int of_few, int small)
{
    return check_device(root, (run){ .mask = mask, .few = of_few, .small = small }, mask, NULL);
}

/* All kernels with subgroups that these models need have emulated code, and the plans do need some. */
static int check_emulated(const char *root, unsigned size, int of_few)
{
    char name[64];
    snprintf(name, sizeof name, "emulated subgroups of %u", size);
    /* workgroups of one are whole subgroups, though not the device's own, which is what full ones are asked of */
    const char *caps = size == 1 ? "full-subgroups=0" : NULL;
    int bad = check_device(root, (run){ .mask = name, .few = of_few }, caps, subgroups_vk_loader(size));
    if (subgroups_vk_emulated() && !subgroups_vk_not_emulated()) return bad;
    print_message("%s: %u pipelines, and %u with the device's own\n", name, subgroups_vk_emulated(),
                  subgroups_vk_not_emulated());
    return bad + 1;
}

static const char *mode = "all";

static void test_masks(void **state)
{
    char root[TEST_PATH_BYTES];
    int bad = 0, of_few = strcmp(mode, "few") == 0;
    (void)state;
    if (!test_data("golden", root)) skip();
    if (strcmp(mode, "none") == 0) bad = check_mask(root, NULL, 0, 0);
    if (strcmp(mode, "emulated") == 0) {
        bad = check_emulated(root, 64, 0) + check_emulated(root, 32, 1) + check_emulated(root, 16, 1) +
              check_emulated(root, 1, 1);
    }
    for (size_t i = 0; i < sizeof masks / sizeof *masks && (of_few || strcmp(mode, "all") == 0); i++) {
        if (!of_few || masks[i].few) bad += check_mask(root, masks[i].caps, of_few, masks[i].small);
    }
    assert_int_equal(bad, 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_masks) };
    if (argc > 1) mode = argv[1];
    test_keep_modules();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
