/* SPDX-License-Identifier: Apache-2.0
 * Where to cut a model: the best of all cuts that fit, by dynamic programming over (devices used,
 * layers placed). Decides what "best" means; what layers and devices are worth is the caller's. */
#include "part.h"

#include <stdio.h>

/* The best cut of the first layers for the first devices. */
typedef struct best {
    double slowest, sum; /* seconds a token; slowest < 0: nothing fits */
    uint32_t count;      /* layers of the last of these devices */
} best;

typedef struct split {
    const pum_split_sizes *sizes;
    const pum_split_device *devices;
    uint32_t n;
    best *table; /* [devices used][layers placed] */
} split;

static best *at(const split *s, uint32_t devices, uint32_t layers)
{
    return &s->table[(size_t)devices * (s->sizes->n_layers + 1) + layers];
}

/* What the part of layers [first, end) on device d holds besides its layers. */
static uint64_t other_bytes(const split *s, uint32_t d, uint32_t first, uint32_t end)
{
    const pum_split_sizes *z = s->sizes;
    bool last = d + 1 == s->n, begins = first <= z->n_encoder && end > z->n_encoder;
    uint64_t bytes = z->every_bytes + (d == 0 ? z->first_bytes : 0) + (last ? z->last_bytes : 0);
    if (!z->n_encoder) return bytes;
    if (begins && d > 0 && !(last && z->tied)) bytes += z->words_bytes;
    return end <= z->n_encoder ? bytes + z->encoder_bytes : bytes;
}

/* Fills *b for devices [0, d] and layers [0, end). */
static void find_best(const split *s, uint32_t d, uint32_t end, best *b)
{
    const pum_split_sizes *z = s->sizes;
    const pum_split_device *device = &s->devices[d];
    bool last = d + 1 == s->n;
    uint64_t bytes = 0, read = last ? z->last_read : 0;
    b->slowest = -1;
    for (uint32_t count = 1; count <= end; count++) {
        const best *rest = at(s, d, end - count);
        bytes += z->layer_bytes[end - count];
        read += z->layer_read[end - count];
        /* more layers need more */
        if (bytes + other_bytes(s, d, end - count, end) > device->budget_bytes) break;
        if (rest->slowest < 0) continue;
        double time = (double)read / device->bytes_per_second;
        double slowest = PUM_MAX(time, rest->slowest), sum = time + rest->sum;
        if (b->slowest >= 0 && (slowest > b->slowest || (slowest == b->slowest && sum >= b->sum))) {
            continue;
        }
        *b = (best){ slowest, sum, count };
    }
}

static pumice_status fail_size(const split *s, pumice_error *err)
{
    const pum_split_sizes *z = s->sizes;
    uint64_t need = z->first_bytes + z->last_bytes + s->n * z->every_bytes;
    if (s->n > 1 && !(s->n == 2 && z->tied)) need += z->words_bytes;
    const double mib = 1024 * 1024;
    char list[200];
    size_t used = 0;
    for (uint32_t i = 0; i < z->n_layers; i++) need += z->layer_bytes[i];
    for (uint32_t i = 0; i < s->n && used < sizeof list; i++) {
        int w = snprintf(list + used, sizeof list - used, "%s%.1f", i ? ", " : "",
                         (double)s->devices[i].budget_bytes / mib);
        used += (size_t)PUM_MAX(w, 0);
    }
    return pum_fail(err, PUMICE_ERROR_DEVICE_MEMORY,
                    "the %u layers need %.1f MiB in all, and no cut of them fits the devices, which "
                    "have %s MiB: add a device, or take a smaller context or fewer bits",
                    z->n_layers, (double)need / mib, list);
}

pumice_status pum_split_layers(const pum_split_sizes *sizes, const pum_split_device *devices,
                               uint32_t n, uint32_t *out_counts, pumice_error *err)
{
    split s = { .sizes = sizes, .devices = devices, .n = n };
    uint32_t layers = sizes->n_layers;
    if (n == 0 || n > layers || n > PUM_MAX_PARTS) {
        return pum_fail(err, PUMICE_ERROR_INVALID,
                        "a model of %u layers cannot be cut for %u devices: give 1 to %u of them",
                        layers, n, PUM_MIN(layers, (uint32_t)PUM_MAX_PARTS));
    }
    s.table = pum_alloc_array((size_t)(n + 1) * (layers + 1), sizeof *s.table);
    if (!s.table) return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to cut the model");
    for (uint32_t i = 1; i <= layers; i++) at(&s, 0, i)->slowest = -1;
    for (uint32_t d = 0; d < n; d++) {
        at(&s, d + 1, 0)->slowest = -1; /* every device takes at least one */
        for (uint32_t end = 1; end <= layers; end++) find_best(&s, d, end, at(&s, d + 1, end));
    }
    bool fits = at(&s, n, layers)->slowest >= 0;
    for (uint32_t d = n, end = layers; fits && d > 0; d--) {
        out_counts[d - 1] = at(&s, d, end)->count;
        end -= out_counts[d - 1];
    }
    pum_free(s.table);
    return fits ? PUMICE_OK : fail_size(&s, err);
}
