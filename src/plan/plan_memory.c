/* SPDX-License-Identifier: Apache-2.0
 * Gives every activation a range of the arena. Values that may share memory with the input they
 * replace (in-place) are joined first; then, largest first, each takes the tightest gap that is
 * free during its life. Lives are counted in epochs, the stretches between the barriers that the
 * data flow itself needs: two values share memory only when such a barrier lies between them, so
 * that reuse never adds a barrier. Weights, KV and the step buffer are external: their ranges come
 * from the placements. */
#include "plan_pass.h"

#include <stdlib.h>
#include <string.h>

typedef struct life {
    uint32_t first, last; /* drafts that touch it; first > last = never */
    int32_t root;         /* value whose memory it uses (itself unless in place of another) */
    uint32_t join_first, join_last; /* epochs of everything that shares the root's memory */
    uint64_t bytes, offset;
    bool placed;
} life;

static bool is_act(const pum_select *s, pum_value_id id)
{
    return id >= 0 && s->graph->values.data[id].kind == PUM_VALUE_ACT;
}

/* epoch[d]: how many barriers the data flow alone puts before draft d. A value is taken as one
 * thing, so this is what plan_sync finds when no memory is shared. marks[v]: 2 * epoch of the
 * value's last use, + 1 if it was written. */
static void find_epochs(const pum_select *s, uint32_t *epoch, uint64_t *marks)
{
    uint32_t now = 0;
    for (size_t d = 0; d < s->drafts.count; d++) {
        const pum_draft *draft = &s->drafts.data[d];
        const pum_kernel_info *k = &pum_kernels[draft->kernel];
        bool hazard = false;
        for (uint32_t b = 0; b < k->n_bindings; b++) {
            uint64_t mark = marks[draft->bind[b].value];
            bool written = mark == 2 * (uint64_t)(now + 1) + 1,
                 used = written || mark == 2 * (uint64_t)(now + 1);
            if (written || (used && (k->access[b] & PUM_ACCESS_W))) hazard = true;
        }
        now += hazard;
        epoch[d] = now;
        for (uint32_t b = 0; b < k->n_bindings; b++) {
            uint64_t mark = 2 * (uint64_t)(now + 1) + ((k->access[b] & PUM_ACCESS_W) != 0);
            uint64_t *m = &marks[draft->bind[b].value];
            *m = PUM_MAX(*m, mark);
        }
    }
}

static void find_lifetimes(const pum_select *s, const uint32_t *epoch, life *lives)
{
    for (size_t v = 0; v < s->graph->values.count; v++) {
        lives[v] = (life){ .first = UINT32_MAX,
                           .root = (int32_t)v,
                           .bytes = pum_act_bytes(&s->graph->values.data[v]) };
    }
    for (size_t d = 0; d < s->drafts.count; d++) {
        const pum_draft *draft = &s->drafts.data[d];
        for (uint32_t b = 0; b < pum_kernels[draft->kernel].n_bindings; b++) {
            if (!is_act(s, draft->bind[b].value)) continue;
            life *l = &lives[draft->bind[b].value];
            l->first = PUM_MIN(l->first, (uint32_t)d);
            l->last = (uint32_t)d;
        }
    }
    for (size_t v = 0; v < s->graph->values.count; v++) {
        if (lives[v].first == UINT32_MAX) continue;
        lives[v].join_first = epoch[lives[v].first];
        lives[v].join_last = epoch[lives[v].last];
    }
}

/* Does another draft of d's epoch touch the memory of `root`? Then writing it in d would need a
 * barrier. */
static bool used_beside(const pum_select *s, const uint32_t *epoch, const life *lives, size_t d,
                        int32_t root)
{
    for (size_t e = d; e-- > 0 && epoch[e] == epoch[d];) {
        const pum_draft *draft = &s->drafts.data[e];
        for (uint32_t b = 0; b < pum_kernels[draft->kernel].n_bindings; b++) {
            pum_value_id v = draft->bind[b].value;
            if (is_act(s, v) && lives[v].root == root) return true;
        }
    }
    return false;
}

static void join_in_place(const pum_select *s, const uint32_t *epoch, life *lives)
{
    for (size_t d = 0; d < s->drafts.count; d++) {
        const pum_draft *draft = &s->drafts.data[d];
        if (draft->inplace_in < 0) continue;
        pum_value_id in = draft->bind[draft->inplace_in].value,
                     out = draft->bind[draft->inplace_out].value;
        if (!is_act(s, in) || !is_act(s, out) || lives[in].last != d || lives[out].first != d ||
            lives[in].bytes != lives[out].bytes ||
            used_beside(s, epoch, lives, d, lives[in].root)) {
            continue;
        }
        life *root = &lives[lives[in].root];
        lives[out].root = lives[in].root;
        root->join_last = PUM_MAX(root->join_last, lives[out].join_last);
    }
}

typedef struct by_size {
    int32_t value;
    uint64_t bytes;
} by_size;

static int larger_first(const void *a, const void *b)
{
    const by_size *x = a, *y = b;
    if (x->bytes != y->bytes) return x->bytes > y->bytes ? -1 : 1;
    return x->value < y->value ? -1 : 1;
}

static int by_offset(const void *a, const void *b)
{
    const life *x = *(life *const *)a, *y = *(life *const *)b;
    if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
    return x < y ? -1 : x > y;
}

/* The tightest gap among the placed values that live at the same time, else the end. */
static uint64_t find_gap(const life *l, life **placed, size_t count, uint64_t align)
{
    uint64_t end = 0, best = UINT64_MAX, best_gap = UINT64_MAX;
    qsort(placed, count, sizeof *placed, by_offset);
    for (size_t i = 0; i < count; i++) {
        const life *p = placed[i];
        if (p->join_last < l->join_first || p->join_first > l->join_last) continue;
        if (p->offset > end) {
            uint64_t gap = p->offset - end;
            if (gap >= l->bytes && gap < best_gap) {
                best = end;
                best_gap = gap;
            }
        }
        end = PUM_MAX(end, pum_align_up(p->offset + p->bytes, align));
    }
    return best != UINT64_MAX ? best : end;
}

static pumice_status place(const pum_select *s, life *lives, bool no_reuse, pum_plan *plan,
                           pumice_error *err)
{
    size_t n = s->graph->values.count, roots = 0, n_placed = 0;
    uint64_t align = PUM_MAX(s->caps->offset_align_bytes, 64u);
    by_size *order = pum_alloc_array(n + 1, sizeof *order);
    life **placed = pum_alloc_array(n + 1, sizeof *placed);
    pumice_status status = PUMICE_OK;
    if (!order || !placed) {
        status = pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to plan");
        goto done;
    }
    for (size_t v = 0; v < n; v++) {
        if (!is_act(s, (pum_value_id)v) || lives[v].first == UINT32_MAX) continue;
        plan->activation_bytes += lives[v].bytes;
        if (lives[v].root == (int32_t)v) order[roots++] = (by_size){ (int32_t)v, lives[v].bytes };
    }
    qsort(order, roots, sizeof *order, larger_first);
    for (size_t i = 0; i < roots; i++) {
        life *l = &lives[order[i].value];
        l->offset = no_reuse ? plan->arena_bytes : find_gap(l, placed, n_placed, align);
        placed[n_placed++] = l;
        plan->arena_bytes = PUM_MAX(plan->arena_bytes, pum_align_up(l->offset + l->bytes, align));
    }
    for (size_t v = 0; v < n; v++) {
        if (!is_act(s, (pum_value_id)v) || lives[v].first == UINT32_MAX) continue;
        lives[v].offset = lives[lives[v].root].offset;
        pum_plan_value pv = { .offset_bytes = lives[v].offset,
                              .size_bytes = lives[v].bytes,
                              .first_step = lives[v].first,
                              .last_step = lives[v].last };
        memcpy(pv.name, s->graph->values.data[v].name, sizeof pv.name);
        if (!pum_array_push(&plan->values, pv)) {
            status = pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to plan");
            goto done;
        }
    }
done:
    pum_free(order);
    pum_free(placed);
    return status;
}

/* The range a draft's binding stands for. */
static pum_binding bind_range(const pum_select *s, const pum_placement *kv, const life *lives,
                              const pum_draft_binding *b, uint8_t access, pum_plan *plan)
{
    const pum_value *v = &s->graph->values.data[b->value];
    pum_binding r = { .access = access };
    const pum_piece *piece = NULL;
    switch (v->kind) {
    case PUM_VALUE_ACT:
        r.buffer = PUM_BUFFER_ARENA;
        r.offset_bytes = lives[b->value].offset;
        r.size_bytes = lives[b->value].bytes;
        break;
    case PUM_VALUE_STEP:
        r.buffer = PUM_BUFFER_STEP;
        r.size_bytes = plan->step_bytes = (uint64_t)s->graph->step.words * 4;
        break;
    case PUM_VALUE_LOGITS:
        r.buffer = PUM_BUFFER_LOGITS;
        r.size_bytes = plan->logits_bytes = pum_act_bytes(v);
        break;
    case PUM_VALUE_HIDDEN:
        r.buffer = PUM_BUFFER_HIDDEN;
        r.size_bytes = plan->hidden_bytes = pum_act_bytes(v);
        break;
    case PUM_VALUE_WEIGHT:
        piece = &s->weights->pieces.data[b->piece ? b->piece : s->weights->first.data[v->source]];
        r.buffer = PUM_BUFFER_WEIGHT + piece->buffer;
        break;
    case PUM_VALUE_KV:
        piece = &kv->pieces.data[kv->first.data[v->source]];
        r.buffer = PUM_BUFFER_KV + piece->buffer;
        break;
    }
    if (piece) {
        r.offset_bytes = piece->offset_bytes;
        r.size_bytes = piece->size_bytes;
    }
    if (v->kind == PUM_VALUE_WEIGHT && v->stack > 1) {
        const pum_piece *last = &piece[v->stack - 1]; /* each tensor of a stack is one piece */
        r.size_bytes = last->offset_bytes + last->size_bytes - piece->offset_bytes;
    }
    return r;
}

static pumice_status make_steps(const pum_select *s, const pum_placement *kv, const life *lives,
                                pum_plan *plan, pumice_error *err)
{
    if (!pum_array_reserve(&plan->steps, s->drafts.count)) {
        return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to plan");
    }
    for (size_t d = 0; d < s->drafts.count; d++) {
        const pum_draft *draft = &s->drafts.data[d];
        const pum_kernel_info *k = &pum_kernels[draft->kernel];
        pum_step step = { .kernel = draft->kernel,
                          .node = draft->node,
                          .layer = draft->layer,
                          .bytes = draft->bytes,
                          .flops = draft->flops };
        memcpy(step.spec, draft->spec, sizeof step.spec);
        memcpy(step.grid, draft->grid, sizeof step.grid);
        memcpy(step.args, draft->args, sizeof step.args);
        memcpy(step.label, draft->label, sizeof step.label);
        for (uint32_t b = 0; b < k->n_bindings; b++) {
            step.bind[b] = bind_range(s, kv, lives, &draft->bind[b], k->access[b], plan);
            if (step.bind[b].size_bytes > s->caps->max_buffer_range_bytes) {
                return pum_fail(err, PUMICE_ERROR_UNSUPPORTED,
                                "'%s' needs %llu MiB for one activation, but '%s' binds "
                                "at most %llu MiB at once: use a smaller batch",
                                draft->label, (unsigned long long)(step.bind[b].size_bytes >> 20),
                                s->caps->name,
                                (unsigned long long)(s->caps->max_buffer_range_bytes >> 20));
            }
        }
        pum_array_push(&plan->steps, step);
    }
    return PUMICE_OK;
}

pumice_status pum_plan_memory(const pum_select *s, const pum_placement *kv, bool no_reuse,
                              pum_plan *plan, pumice_error *err)
{
    life *lives = pum_alloc_array(s->graph->values.count + 1, sizeof *lives);
    uint32_t *epoch = pum_alloc_array(s->drafts.count + 1, sizeof *epoch);
    uint64_t *marks = pum_alloc_array(s->graph->values.count + 1, sizeof *marks);
    pumice_status status;
    if (!lives || !epoch || !marks) {
        status = pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to plan");
        goto fail;
    }
    find_epochs(s, epoch, marks);
    find_lifetimes(s, epoch, lives);
    if (!no_reuse) join_in_place(s, epoch, lives);
    PUM_GOTO(place(s, lives, no_reuse, plan, err));
    if (plan->arena_bytes > s->caps->max_allocation_bytes) {
        status =
            pum_fail(err, PUMICE_ERROR_UNSUPPORTED,
                     "the activations of %u rows need %llu MiB, more than '%s' "
                     "allocates at once: use a smaller batch",
                     s->graph->rows, (unsigned long long)(plan->arena_bytes >> 20), s->caps->name);
        goto fail;
    }
    PUM_GOTO(make_steps(s, kv, lives, plan, err));
fail:
    pum_free(lives);
    pum_free(epoch);
    pum_free(marks);
    return status;
}
