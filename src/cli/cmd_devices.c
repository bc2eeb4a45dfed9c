/* SPDX-License-Identifier: Apache-2.0
 * pumice devices: what Vulkan devices there are and what Pumice makes of them. Judges nothing
 * itself. */
#include "common.h"

#include <stdlib.h>
#include <string.h>

static bool acted_upon(const pumice_device_info *d, const char *quirk)
{
    size_t n = strlen(quirk);
    for (const char *p = d->quirks; (p = strstr(p, quirk)); p += n) {
        if ((p == d->quirks || p[-1] == ' ') && (!p[n] || p[n] == ' ')) return true;
    }
    return false;
}

static void version_text(uint32_t version, char *out, size_t capacity)
{
    /* as Vulkan packs it: 7 bits major, 10 bits minor, 12 bits patch below 3 bits of variant */
    snprintf(out, capacity, "%u.%u.%u", (version >> 22) & 0x7f, (version >> 12) & 0x3ff,
             version & 0xfff);
}

/* Every known driver bug by name: true where it is acted upon. */
static json_t *quirks_json(const pumice_device_info *d)
{
    json_t *object = json_object();
    pumice_quirk q = { .struct_size = sizeof q };
    for (size_t i = 0; object && pumice_quirk_get(i, &q); i++) {
        if (json_object_set_new(object, q.name, json_boolean(acted_upon(d, q.name))) != 0) {
            json_decref(object);
            object = NULL;
        }
    }
    return object;
}

static json_t *device_json(const pumice_device_info *d)
{
    char version[32];
    version_text(d->api_version, version, sizeof version);
    /* clang-format off */
    return json_pack(
        "{s:I, s:o, s:s, s:o, s:o, s:o, s:b, s:o, s:I, s:I, s:s, s:I, s:I, s:I, s:I, s:I, s:o, "
        "s:I, s:I, s:I, s:I, s:I, s:o}",
        "index", (json_int_t)d->index,
        "name", cli_json_text(d->name),
        "kind", cli_device_kind(d->kind),
        "driver", cli_json_text(d->driver),
        "family", cli_json_text(d->family),
        "tiers", cli_json_text(d->tiers),
        "usable", (int)(d->usable != 0),
        "why_not", cli_json_text(d->why_not),
        "vendor_id", (json_int_t)d->vendor_id,
        "device_id", (json_int_t)d->device_id,
        "api_version", version,
        "subgroup_size", (json_int_t)d->subgroup_size,
        "heap_bytes", (json_int_t)d->heap_bytes,
        "budget_bytes", (json_int_t)d->budget_bytes,
        "max_buffer_range_bytes", (json_int_t)d->max_buffer_range_bytes,
        "max_allocation_bytes", (json_int_t)d->max_allocation_bytes,
        "uuid", cli_json_text(d->uuid),
        "subgroup_min", (json_int_t)d->subgroup_min,
        "subgroup_max", (json_int_t)d->subgroup_max,
        "max_workgroup_invocations", (json_int_t)d->max_workgroup_invocations,
        "shared_memory_bytes", (json_int_t)d->shared_memory_bytes,
        "offset_align_bytes", (json_int_t)d->offset_align_bytes,
        "quirks", quirks_json(d));
    /* clang-format on */
}

static int print_json(const pumice_device_info *infos, uint32_t count)
{
    json_t *array = json_array();
    for (uint32_t i = 0; array && i < count; i++) {
        if (json_array_append_new(array, device_json(&infos[i])) != 0) {
            json_decref(array);
            array = NULL;
        }
    }
    return cli_print_json(array);
}

static void print_device(const pumice_device_info *d)
{
    char version[32], heap[32], budget[32];
    version_text(d->api_version, version, sizeof version);
    printf("%u: ", d->index);
    cli_print_plain(stdout, d->name);
    printf("\n   %s, driver ", cli_device_kind(d->kind));
    cli_print_plain(stdout, d->driver);
    printf(", Vulkan %s\n   memory %s, free %s, subgroups of %u\n", version,
           cli_bytes_text(d->heap_bytes, heap, sizeof heap),
           cli_bytes_text(d->budget_bytes, budget, sizeof budget), d->subgroup_size);
    if (d->usable) {
        printf("   family %s, tiers %s\n", d->family, d->tiers);
    } else {
        fputs("   not usable: ", stdout);
        cli_print_plain(stdout, d->why_not);
        putchar('\n');
    }
    if (d->uuid[0]) printf("   uuid %s\n", d->uuid);
    if (d->quirks[0]) printf("   driver bugs acted upon: %s\n", d->quirks);
}

static void print_details(const pumice_device_info *d)
{
    char range[32], allocation[32];
    printf("   subgroups %u to %u, workgroups of %u, shared memory %u, "
           "bindings %s at multiples of %u, allocations %s\n",
           d->subgroup_min, d->subgroup_max, d->max_workgroup_invocations, d->shared_memory_bytes,
           cli_bytes_text(d->max_buffer_range_bytes, range, sizeof range), d->offset_align_bytes,
           cli_bytes_text(d->max_allocation_bytes, allocation, sizeof allocation));
}

static void print_quirks(void)
{
    pumice_quirk q = { .struct_size = sizeof q };
    puts("driver bugs known (--quirk NAME=on|off forces one):");
    for (size_t i = 0; pumice_quirk_get(i, &q); i++) {
        printf("   %s: %s; %s, %s\n      %s\n", q.name, q.effect, q.seen, q.link, q.text);
    }
}

static int run_devices(const cli_options *options)
{
    pumice_device_params params;
    pumice_error err = { 0 };
    uint32_t count = 0, capacity;
    cli_device_params(options, &params);
    pumice_status status = pumice_device_list(&params, NULL, 0, &count, &err);
    if (status != PUMICE_OK) return cli_fail_error(status, &err);
    capacity = count;
    if (!capacity)
        return cli_fail(
            "no Vulkan device was found: install a Vulkan driver for the GPU, or Mesa's "
            "software device");
    pumice_device_info *infos = calloc(capacity, sizeof *infos);
    if (!infos) return cli_no_memory();
    for (uint32_t i = 0; i < capacity; i++) infos[i].struct_size = sizeof *infos;
    int code = CLI_OK;
    status = pumice_device_list(&params, infos, capacity, &count, &err);
    if (count > capacity) count = capacity; /* one was plugged in between the two calls */
    if (status != PUMICE_OK) {
        code = cli_fail_error(status, &err);
    } else if (options->json) {
        code = print_json(infos, count);
    } else {
        for (uint32_t i = 0; i < count; i++) {
            print_device(&infos[i]);
            if (options->verbose) print_details(&infos[i]);
        }
        if (options->verbose) print_quirks();
        code = cli_flush();
    }
    free(infos);
    return code;
}

static const cli_option devices_options[] = {
    CLI_ROW_TEXT(NULL, "disable", disable, "CAPS",
                 "capabilities not to use: sub,f16,dot8,coop,timeline"),
    CLI_ROW_TEXT(NULL, "caps", caps, "LIMITS",
                 "limits: subgroup=16,shared=16K,range=64M,transfer=1,repack=1,host-import=1,fast-dot8=1"),
    CLI_ROW_TEXT(NULL, "quirk", quirks, "NAME=on|off",
                 "act upon a driver bug, or not, whatever the driver: see pumice devices -v"),
    CLI_ROW_END
};

const cli_command cli_cmd_devices = {
    .name = "devices",
    .arguments = "[options]",
    .summary = "List the Vulkan devices and what can be used of them",
    .groups = { devices_options, cli_json_options },
    .run = run_devices,
};
