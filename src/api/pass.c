/* SPDX-License-Identifier: Apache-2.0
 * Passes: a pass is planned and recorded when first needed and replayed afterwards. Decides only
 * what is kept: the most recently used few, decode above all, since prompts come in every length.
 */
#include "stage.h"

#include <string.h>

pumice_status pum_pass_plan(const pum_model_def *def, const pum_session_size *size,
                            const pum_caps *caps, const pum_tuning *tuning,
                            const pum_placement *weights, const pum_placement *kv,
                            const pum_plan_options *options, const pum_pass_key *key,
                            pum_plan *out_plan, pumice_error *err)
{
    pum_graph graph = { 0 };
    pum_build build = { .rows = key->rows,
                        .n_slots = key->n_slots,
                        .one_sequence = key->one_sequence,
                        .encode = key->encode,
                        .head = key->head,
                        .sampler = key->sampler,
                        .kv_type_k = size->kv_k,
                        .kv_type_v = size->kv_v,
                        .kv_cells = size->pages * KV_PAGE,
                        .step = size->step,
                        .logits_rows = size->logits_rows };
    pum_tuning chosen = *tuning;
    if (key->row_by_row) pum_tuning_row_by_row(&chosen);
    *out_plan = (pum_plan){ 0 };
    pumice_status status = pum_model_build(def, &build, &graph, err);
    if (status == PUMICE_OK) {
        status = pum_plan_make(&graph, caps, &chosen, weights, kv, options, out_plan, err);
    }
    pum_graph_free(&graph);
    return status;
}

static pumice_status plan(pum_stage *s, const pum_pass_key *key, pum_plan *out_plan)
{
    const pum_model_part *p = s->part;
    return pum_pass_plan(p->def, &s->size, &s->caps, &p->device->tuning,
                         s->weights, &s->kv_place, &s->plan_options, key, out_plan, s->err);
}

pumice_status pum_pass_arena(pum_stage *s, uint64_t *out_bytes)
{
    const pum_pass_key largest[] = {
        { .rows = s->size.n_batch, .n_slots = 1, .one_sequence = true, .head = PUM_HEAD_SLOTS },
        { .rows = PUM_MIN(s->size.n_batch, s->size.logits_rows),
          .one_sequence = true,
          .head = PUM_HEAD_ALL },
        { .rows = s->size.n_sequences,
          .n_slots = s->size.n_sequences,
          .head = PUM_HEAD_SLOTS,
          .sampler = PUM_SAMPLER_CHAIN },
        { .rows = s->size.n_batch, .one_sequence = true, .encode = true },
    };
    *out_bytes = 64;
    for (size_t i = 0; i < PUM_COUNT(largest); i++) {
        pum_plan p;
        const pum_model_def *def = s->part->def;
        pum_pass_key key = pum_stage_key(def, &largest[i]);
        if (largest[i].encode && !def->hp.encoder.n_layers) continue;
        if (!pum_stage_has_part(def, &largest[i])) continue;
        PUM_TRY(plan(s, &key, &p));
        *out_bytes = PUM_MAX(*out_bytes, p.arena_bytes);
        pum_plan_free(&p);
    }
    return PUMICE_OK;
}

bool pum_pass_goes_by_row(pum_stage *s, uint32_t rows)
{
    const pum_pass_key key = { .rows = rows, .one_sequence = true, .row_by_row = true };
    const pum_tuning *t = &s->part->device->tuning;
    uint64_t most_ns = 1000000ull * t->prompt_row_ms;
    pum_plan p;
    if (!most_ns || rows < 2 || rows > t->prompt_rows || !pum_stage_has_part(s->part->def, &key)) return false;
    /* nor if it takes more memory than the passes of prompts, which the session has */
    bool does = plan(s, &key, &p) == PUMICE_OK && p.predicted_ns <= most_ns && p.arena_bytes <= s->arena.size_bytes;
    pum_plan_free(&p);
    return does;
}

static void pass_free(pum_pass *pass)
{
    pum_exec_destroy(&pass->exec);
    pum_plan_free(&pass->plan);
    *pass = (pum_pass){ 0 };
}

void pum_pass_clear(pum_stage *s)
{
    for (size_t i = 0; i < PUM_PASS_CACHE; i++) pass_free(&s->passes[i]);
    s->last = NULL;
}

static bool same_key(const pum_pass_key *a, const pum_pass_key *b)
{
    return a->rows == b->rows && a->n_slots == b->n_slots && a->one_sequence == b->one_sequence &&
           a->encode == b->encode && a->row_by_row == b->row_by_row && a->head == b->head && a->sampler == b->sampler;
}

static pumice_status grow_arena(pum_stage *s, uint64_t bytes)
{
    pum_pass_clear(s); /* their descriptors name the old arena */
    pum_vk_buffer_destroy(s->vk, &s->arena);
    return pum_vk_buffer_create(s->vk, PUM_VK_DEVICE, bytes, "activations", &s->arena, s->err);
}

/* Another buffer in the place of one that is too small; nothing may be recorded that names it. */
static pumice_status replace(pum_stage *s, pum_vk_use use, uint64_t bytes, const char *what,
                             pum_vk_buffer *buffer)
{
    pum_vk_buffer made = { 0 };
    if (buffer->size_bytes >= bytes) return PUMICE_OK;
    PUM_TRY(pum_vk_buffer_create(s->vk, use, bytes, what, &made, s->err));
    pum_vk_buffer_destroy(s->vk, buffer);
    *buffer = made;
    return PUMICE_OK;
}

pumice_status pum_pass_grow(pum_stage *s, uint32_t rows)
{
    const pum_step_layout *old = &s->size.step;
    const pum_model_def *def = s->part->def;
    if (rows <= old->rows) return PUMICE_OK;
    pum_step_layout layout =
        pum_step_layout_make(rows, old->slots, old->sequences, s->size.n_ctx);
    uint64_t row_bytes = (uint64_t)rows * def->hp.n_embd * 4;
    pum_pass_clear(s); /* their descriptors name the old buffers, their arguments the old layout */
    if (def->goes_on) PUM_TRY(replace(s, PUM_VK_DEVICE, row_bytes, "hidden rows", &s->logits));
    if (pum_stage_takes_rows(def)) PUM_TRY(replace(s, PUM_VK_SHARED, row_bytes, "hidden rows", &s->hidden));
    pum_vk_buffer step = { 0 };
    PUM_TRY(pum_vk_buffer_create(s->vk, PUM_VK_SHARED, (uint64_t)layout.words * 4, "step buffer",
                                 &step, s->err));
    uint32_t *words = step.mapped;
    memset(words, 0, (size_t)layout.words * 4);
    memcpy(words + layout.table_at, s->words + old->table_at,
           (size_t)old->sequences * old->table_stride * 4);
    pum_vk_buffer_destroy(s->vk, &s->step);
    s->step = step;
    s->words = words;
    s->size.step = layout;
    return PUMICE_OK;
}

pumice_status pum_pass_get_large(pum_stage *s, const pum_pass_key *key, const char *what,
                                 pum_pass **out_pass)
{
    pumice_status status = pum_pass_grow(s, key->rows);
    if (status == PUMICE_OK) status = pum_pass_get(s, key, out_pass);
    if (status != PUMICE_ERROR_DEVICE_MEMORY || key->rows <= s->size.n_batch) return status;
    return pum_fail(s->err, status,
                    "%s of %u tokens is computed at once, for which there is not enough device "
                    "memory: make it shorter or the context smaller",
                    what, key->rows);
}

pumice_status pum_pass_get(pum_stage *s, const pum_pass_key *key, pum_pass **out_pass)
{
    pum_pass *oldest = &s->passes[0];
    *out_pass = NULL;
    for (size_t i = 0; i < PUM_PASS_CACHE; i++) {
        pum_pass *p = &s->passes[i];
        if (p->last_use && same_key(&p->key, key)) {
            p->last_use = ++s->clock;
            *out_pass = p;
            return PUMICE_OK;
        }
        if (p->last_use < oldest->last_use) oldest = p;
    }
    uint64_t begin = pum_now_ns();
    pum_pass made = { .key = *key };
    pumice_status status;
    PUM_GOTO(plan(s, key, &made.plan));
    if (made.plan.arena_bytes > s->arena.size_bytes) PUM_GOTO(grow_arena(s, made.plan.arena_bytes));
    PUM_GOTO(pum_exec_create(s->vk, &made.plan, &s->exec_buffers, s->profile, &made.exec, s->err));
    if (s->last == oldest) s->last = NULL;
    pass_free(oldest);
    made.last_use = ++s->clock;
    made.proven = s->part->device->no_self_test;
    *oldest = made;
    *out_pass = oldest;
    uint64_t pipeline_ns = pum_exec_pipeline_ns(made.exec);
    s->pipeline_ns += pipeline_ns;
    s->plan_ns += pum_now_ns() - begin - pipeline_ns;
    return PUMICE_OK;
fail:
    pass_free(&made);
    return status;
}

/* One kernel less: says so, and drops the passes that use it. */
static void distrust(pum_stage *s, const pum_exec_check *wrong, uint32_t kernel)
{
    pum_log_write(pum_vk_device_log(s->vk), PUMICE_LOG_WARNING,
                  "kernel '%s' computes something wrong on '%s' with this version of its driver (%s): in '%s' "
                  "%llu of %llu numbers, one %g instead of %g; a slower kernel takes its place",
                  wrong->kernel, s->caps.name, s->caps.driver_name, wrong->label,
                  (unsigned long long)wrong->n_bad, (unsigned long long)wrong->n_elements, wrong->got,
                  wrong->want);
    pum_vk_distrust(s->vk, kernel);
    pum_vk_trusted_caps(s->vk, &s->caps);
    pum_pass_clear(s);
}

pumice_status pum_pass_prove(pum_stage *s, pum_pass **io_pass)
{
    if ((*io_pass)->proven) return PUMICE_OK;
    uint64_t begin = pum_now_ns();
    size_t bytes = (size_t)s->size.step.words * 4;
    uint32_t *words = pum_alloc(bytes);
    if (!words) return pum_fail(s->err, PUMICE_ERROR_HOST_MEMORY, "no memory to test kernels");
    memcpy(words, s->words, bytes);
    pumice_status status = PUMICE_OK;
    pum_exec_check check = { 0 };
    do {
        pum_pass *pass = *io_pass;
        PUM_GOTO(pum_exec_prove(s->vk, &pass->plan, &s->exec_buffers, s->cancel, &check, s->err));
        memcpy(s->words, words, bytes);
        if (!check.bad) {
            pass->proven = true;
        } else {
            pum_pass_key key = pass->key;
            distrust(s, &check, pass->plan.steps.data[check.step].kernel);
            PUM_GOTO(pum_pass_get(s, &key, io_pass));
        }
    } while (check.bad);
fail:
    memcpy(s->words, words, bytes);
    pum_free(words);
    s->self_test_ns += pum_now_ns() - begin;
    return status;
}

pumice_status pum_pass_run(pum_stage *s, pum_pass *pass)
{
    PUM_TRY(pum_pass_prove(s, &pass));
    s->last = pass;
    uint64_t begin = pum_now_ns();
    pumice_status status = pum_exec_run(pass->exec, s->cancel, s->err);
    s->busy_ns += pum_now_ns() - begin;
    return status;
}
