/* SPDX-License-Identifier: Apache-2.0
 * Reads and applies wishes: one table of limits by name. */
#include "wishes.h"

#include <stddef.h>
#include <string.h>

#include "quirks.h"

enum { FORCEABLE = PUM_CAP_TRANSFER | PUM_CAP_REPACK | PUM_CAP_HOST_IMPORT | PUM_CAP_DOT8_FAST };

static const struct {
    const char *name;
    size_t at, size;   /* of the field in pum_caps_wishes */
    uint64_t most;
    bool power_of_two;
} limits[] = {
#define LIMIT(name, field, most, power) \
    { name, offsetof(pum_caps_wishes, field), sizeof(((pum_caps_wishes *)NULL)->field), most, power }
    LIMIT("subgroup", subgroup_size, 128, true),
    LIMIT("invocations", max_workgroup_invocations, UINT32_MAX, false),
    LIMIT("shared", shared_memory_bytes, UINT32_MAX, false),
    LIMIT("push", max_push_bytes, UINT32_MAX, false),
    LIMIT("buffers", max_storage_buffers, UINT32_MAX, false),
    LIMIT("align", offset_align_bytes, 1u << 20, true),
    LIMIT("range", max_buffer_range_bytes, UINT64_MAX / 2, false),
    LIMIT("allocation", max_allocation_bytes, UINT64_MAX / 2, false),
#undef LIMIT
};

/* A number with K, M or G behind it or not, of n bytes; false if it is anything else or beyond 2^53. */
static bool parse_number(const char *text, size_t n, uint64_t *out)
{
    uint64_t value = 0;
    size_t i = 0;
    for (; i < n && text[i] >= '0' && text[i] <= '9'; i++) {
        if (value > (1ull << 53) / 10) return false;
        value = value * 10 + (uint64_t)(text[i] - '0');
    }
    if (i == 0) return false;
    if (i + 1 == n) {
        uint32_t shift = text[i] == 'K' ? 10 : text[i] == 'M' ? 20 : text[i] == 'G' ? 30 : 0;
        if (!shift || value > (1ull << 53) >> shift) return false;
        value <<= shift;
        i++;
    }
    *out = value;
    return i == n;
}

static bool set_limit(size_t index, uint64_t value, pum_caps_wishes *w)
{
    if (value == 0 || value > limits[index].most) return false;
    if (limits[index].power_of_two && (value & (value - 1))) return false;
    uint32_t word = (uint32_t)value;
    memcpy((char *)w + limits[index].at, limits[index].size == 4 ? (const void *)&word : (const void *)&value,
           limits[index].size);
    return true;
}

/* One NAME=VALUE of n bytes. */
static bool parse_item(const char *text, size_t n, pum_caps_wishes *w, pumice_error *err)
{
    char name[32] = "";
    size_t length = strcspn(text, "=,"), i = 0;
    uint64_t value = 0;
    uint32_t bits = 0;
    bool number = length < n && parse_number(text + length + 1, n - length - 1, &value);
    if (length < sizeof name) memcpy(name, text, length);
    while (i < PUM_COUNT(limits) && strcmp(limits[i].name, name) != 0) i++;
    if (i < PUM_COUNT(limits)) {
        if (number && set_limit(i, value, w)) return true;
    } else if (name[0] && pum_caps_bits_from_names(name, &bits, NULL)) {
        bool force = number && value == 1 && !(bits & ~(uint32_t)FORCEABLE);
        if (force) w->force_bits |= bits;
        if (number && value == 0) w->disable_bits |= bits;
        if (force || (number && value == 0)) return true;
    }
    pum_fail(err, PUMICE_ERROR_INVALID,
             "'%.*s' is no limit: use subgroup, invocations, shared, push, buffers, align, range or allocation =NUMBER "
             "(K, M, G), a capability =0, transfer=1, repack=1, host-import=1 or fast-dot8=1",
             (int)PUM_MIN(n, 60u), text);
    return false;
}

bool pum_caps_wishes_parse(const char *disable, const char *caps, const char *quirks, pum_caps_wishes *out_wishes,
                           pumice_error *err)
{
    pum_caps_wishes w = { 0 };
    *out_wishes = w;
    if (disable && !pum_caps_bits_from_names(disable, &w.disable_bits, err)) return false;
    for (const char *p = caps ? caps : ""; *p;) {
        size_t n = strcspn(p, ",");
        if (n && !parse_item(p, n, &w, err)) return false;
        p += n + (p[n] == ',');
    }
    if (quirks && !pum_quirks_parse(quirks, &w.quirks_on, &w.quirks_off, err)) return false;
    *out_wishes = w;
    return true;
}

void pum_caps_wishes_apply(const pum_caps_wishes *w, pum_caps *c)
{
    pum_quirks_apply(c, w->quirks_on, w->quirks_off);
    c->bits |= w->force_bits & PUM_CAP_TRANSFER;
    if (w->force_bits & PUM_CAP_REPACK) c->flags |= PUM_FLAG_REPACK;
    if (w->force_bits & PUM_CAP_HOST_IMPORT) c->flags |= PUM_FLAG_HOST_IMPORT;
    if ((w->force_bits & PUM_CAP_DOT8_FAST) && (c->bits & PUM_CAP_DOT8)) c->bits |= PUM_CAP_DOT8_FAST;
    c->bits &= ~w->disable_bits;
    if (!(c->bits & PUM_CAP_UNIFIED)) c->bits &= ~PUM_CAP_HOST_IMPORT;
    if (!(c->bits & PUM_CAP_DOT8)) c->bits &= ~PUM_CAP_DOT8_FAST;
    if (!(c->bits & PUM_CAP_TIMELINE)) c->bits &= ~PUM_CAP_TRANSFER; /* what the queues wait for each other with */
#define LOWER(field) \
    if (w->field && w->field < c->field) c->field = w->field
    LOWER(max_workgroup_invocations);
    LOWER(shared_memory_bytes);
    LOWER(max_push_bytes);
    LOWER(max_storage_buffers);
    LOWER(max_buffer_range_bytes);
    LOWER(max_allocation_bytes);
#undef LOWER
    for (int i = 0; i < 3; i++) {
        c->max_workgroup_size[i] = PUM_MIN(c->max_workgroup_size[i], c->max_workgroup_invocations);
    }
    c->offset_align_bytes = PUM_MAX(c->offset_align_bytes, w->offset_align_bytes);
    /* Kernels are right for any size (shaders/lib/matvec.glsl); one that the driver lacks, plans alone have. */
    if (w->subgroup_size) c->subgroup_size = w->subgroup_size;
    if (!(c->bits & PUM_CAP_TIMESTAMPS)) c->timestamp_period_ns = 0;
}
