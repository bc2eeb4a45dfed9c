/* SPDX-License-Identifier: Apache-2.0
 * Proves a finished plan without trusting the passes, by plain quadratic comparison of what the
 * steps say:
 *   - every binding is aligned, within its buffer and within the device's limits; every kernel can
 * run;
 *   - whatever a step reads of the arena was wholly written by earlier steps of the same plan;
 *   - activations that live at the same time do not overlap, but for one taking over another's
 * range in place;
 *   - between any two steps that touch a common byte, one of them writing, stands a barrier. */
#include "plan_pass.h"

#include <string.h>

typedef struct check {
    const pum_plan *plan;
    const pum_caps *caps;
    const pum_placement *weights, *kv;
    pumice_error *err;
} check;

static uint64_t buffer_size(const check *c, uint32_t buffer)
{
    if (buffer == PUM_BUFFER_ARENA) return c->plan->arena_bytes;
    if (buffer == PUM_BUFFER_STEP) return c->plan->step_bytes;
    if (buffer == PUM_BUFFER_LOGITS) return c->plan->logits_bytes;
    if (buffer == PUM_BUFFER_HIDDEN) return c->plan->hidden_bytes;
    const pum_placement *p = buffer >= PUM_BUFFER_WEIGHT ? c->weights : c->kv;
    uint32_t i = buffer - (buffer >= PUM_BUFFER_WEIGHT ? PUM_BUFFER_WEIGHT : PUM_BUFFER_KV);
    return i < p->buffer_bytes.count ? p->buffer_bytes.data[i] : 0;
}

static pumice_status fail(const check *c, size_t step, const char *what)
{
    return pum_fail(c->err, PUMICE_ERROR_INTERNAL, "plan check: step %zu (%s) %s", step,
                    c->plan->steps.data[step].label, what);
}

static pumice_status check_limits(const check *c, size_t i)
{
    const pum_step *s = &c->plan->steps.data[i];
    if (s->kernel >= PUM_KERNEL_COUNT) return fail(c, i, "has no such kernel");
    const pum_kernel_info *k = &pum_kernels[s->kernel];
    const pum_caps *caps = c->caps;
    if (k->needs & ~caps->bits) return fail(c, i, "needs a capability the device lacks");
    if (k->n_bindings > caps->max_storage_buffers) return fail(c, i, "binds too many buffers");
    if (k->args_bytes > caps->max_push_bytes) return fail(c, i, "has too many push constants");
    if (s->spec[0] == 0 || s->spec[0] > caps->max_workgroup_invocations)
        return fail(c, i, "has a bad workgroup");
    for (int d = 0; d < 3; d++) {
        if (s->grid[d] == 0 || s->grid[d] > caps->max_workgroup_count[d])
            return fail(c, i, "has a bad grid");
    }
    for (uint32_t b = 0; b < k->n_bindings; b++) {
        const pum_binding *r = &s->bind[b];
        uint64_t size = buffer_size(c, r->buffer);
        if (r->size_bytes == 0 || r->size_bytes > caps->max_buffer_range_bytes)
            return fail(c, i, "binds a bad range");
        if (r->offset_bytes > size || r->size_bytes > size - r->offset_bytes) {
            return fail(c, i, "binds beyond the end of a buffer");
        }
        if (r->offset_bytes % PUM_MAX(caps->offset_align_bytes, 1u))
            return fail(c, i, "binds at a misaligned offset");
        if (r->access != k->access[b])
            return fail(c, i, "claims another access than its kernel has");
        if (r->buffer >= PUM_BUFFER_WEIGHT && (r->access & PUM_ACCESS_W))
            return fail(c, i, "writes a weight");
        if (r->buffer == PUM_BUFFER_HIDDEN && (r->access & PUM_ACCESS_W))
            return fail(c, i, "writes the rows of another part");
    }
    return PUMICE_OK;
}

static pumice_status check_barriers(const check *c)
{
    size_t n = c->plan->steps.count;
    if (n && !c->plan->steps.data[0].barrier) return fail(c, 0, "does not wait for earlier runs");
    for (size_t j = 1; j < n; j++) {
        const pum_step *b = &c->plan->steps.data[j];
        if (b->barrier) continue;
        /* no barrier before j: compare with every step back to the last one that had a barrier
         * before it */
        for (size_t i = j; i-- > 0;) {
            const pum_step *a = &c->plan->steps.data[i];
            for (uint32_t x = 0; x < pum_kernels[a->kernel].n_bindings; x++) {
                for (uint32_t y = 0; y < pum_kernels[b->kernel].n_bindings; y++) {
                    const pum_binding *p = &a->bind[x], *q = &b->bind[y];
                    bool writes = (p->access | q->access) & PUM_ACCESS_W;
                    bool apart = p->offset_bytes + p->size_bytes <= q->offset_bytes ||
                                 q->offset_bytes + q->size_bytes <= p->offset_bytes;
                    if (p->buffer == q->buffer && writes && !apart) {
                        return fail(c, j,
                                    "touches what an earlier step wrote or reads, without a "
                                    "barrier between");
                    }
                }
            }
            if (a->barrier) break;
        }
    }
    return PUMICE_OK;
}

/* Arena bytes in units of 4: written[] says whether a step has written the word. */
static pumice_status check_reads(const check *c)
{
    uint64_t words = c->plan->arena_bytes / 64 + 1; /* ranges are aligned to 64 bytes or more */
    if (words > (1u << 27)) return PUMICE_OK;       /* 8 GiB of arena: not worth a byte per 64 */
    uint8_t *written = pum_alloc((size_t)words);
    if (!written) return pum_fail(c->err, PUMICE_ERROR_HOST_MEMORY, "no memory to check the plan");
    pumice_status status = PUMICE_OK;
    for (size_t i = 0; i < c->plan->steps.count && status == PUMICE_OK; i++) {
        const pum_step *s = &c->plan->steps.data[i];
        uint32_t n = pum_kernels[s->kernel].n_bindings;
        for (uint32_t b = 0; b < n && status == PUMICE_OK; b++) {
            const pum_binding *r = &s->bind[b];
            if (r->buffer != PUM_BUFFER_ARENA || !(r->access & PUM_ACCESS_R)) continue;
            for (uint64_t w = r->offset_bytes / 64; w * 64 < r->offset_bytes + r->size_bytes; w++) {
                if (!written[w]) {
                    status = fail(c, i, "reads arena memory that nothing has written");
                    break;
                }
            }
        }
        for (uint32_t b = 0; b < n; b++) {
            const pum_binding *r = &s->bind[b];
            if (r->buffer != PUM_BUFFER_ARENA || !(r->access & PUM_ACCESS_W)) continue;
            uint64_t first = r->offset_bytes / 64,
                     end = pum_ceil_div(r->offset_bytes + r->size_bytes, 64);
            memset(written + first, 1, (size_t)(end - first));
        }
    }
    pum_free(written);
    return status;
}

static pumice_status check_overlaps(const check *c)
{
    for (size_t i = 0; i < c->plan->values.count; i++) {
        const pum_plan_value *a = &c->plan->values.data[i];
        for (size_t j = i + 1; j < c->plan->values.count; j++) {
            const pum_plan_value *b = &c->plan->values.data[j];
            bool together = a->first_step <= b->last_step && b->first_step <= a->last_step;
            bool apart = a->offset_bytes + a->size_bytes <= b->offset_bytes ||
                         b->offset_bytes + b->size_bytes <= a->offset_bytes;
            if (!together || apart) continue;
            bool in_place = a->offset_bytes == b->offset_bytes && a->size_bytes == b->size_bytes &&
                            (a->last_step == b->first_step || b->last_step == a->first_step);
            if (!in_place) {
                return pum_fail(c->err, PUMICE_ERROR_INTERNAL,
                                "plan check: '%s' and '%s' live at the same time in "
                                "the same memory",
                                a->name, b->name);
            }
        }
    }
    return PUMICE_OK;
}

pumice_status pum_plan_check(const pum_plan *plan, const pum_caps *caps,
                             const pum_placement *weights, const pum_placement *kv,
                             pumice_error *err)
{
    check c = { plan, caps, weights, kv, err };
    for (size_t i = 0; i < plan->steps.count; i++) PUM_TRY(check_limits(&c, i));
    if (plan->steps.count && !plan->steps.data[plan->steps.count - 1].submit_end) {
        return fail(&c, plan->steps.count - 1, "is the last one but ends no submit");
    }
    PUM_TRY(check_overlaps(&c));
    PUM_TRY(check_reads(&c));
    return check_barriers(&c);
}
