/* SPDX-License-Identifier: Apache-2.0
 * Ranks that load a model together: each tells rank 0 how it fared and what its device is worth, rank
 * 0 decides and tells all. So whatever fails on one fails on all, with its sentence, and nobody waits
 * for a rank that has gone. */
#include "api.h"

#include <stdio.h>
#include <string.h>

#include "part.h"

/* What a rank tells. */
typedef struct report {
    pumice_status status;
    char text[400];
    uint64_t model_hash, room_bytes;
    double bytes_per_second;
} report;

/* What rank 0 decides. */
typedef struct decision {
    pumice_status status;
    char text[508];
    uint32_t counts[PUM_MAX_PARTS];
} decision;

static pumice_status unreachable(uint32_t rank, pumice_error *err)
{
    return pum_fail(err, PUMICE_ERROR_INTERNAL, "rank %u cannot be reached", rank);
}

/* Takes a rank's failure into the decision, unless there is one already. */
static void note(decision *d, uint32_t rank, const report *r)
{
    if (r->status == PUMICE_OK || d->status != PUMICE_OK) return;
    d->status = r->status;
    snprintf(d->text, sizeof d->text, "rank %u: %s", rank, r->text);
}

static pumice_status gather(const pumice_transport *t, const report *mine, report *all,
                            pumice_error *err)
{
    if (t->rank != 0) {
        return t->send(t->user, 0, mine, sizeof *mine) ? unreachable(0, err) : PUMICE_OK;
    }
    all[0] = *mine;
    for (uint32_t i = 1; i < t->n_ranks; i++) {
        if (t->receive(t->user, i, &all[i], sizeof all[i])) return unreachable(i, err);
        all[i].text[sizeof all[i].text - 1] = '\0';
    }
    return PUMICE_OK;
}

static pumice_status spread(const pumice_transport *t, decision *d, pumice_error *err)
{
    if (t->rank != 0) {
        if (t->receive(t->user, 0, d, sizeof *d)) return unreachable(0, err);
        d->text[sizeof d->text - 1] = '\0';
        return PUMICE_OK;
    }
    for (uint32_t i = 1; i < t->n_ranks; i++) {
        if (t->send(t->user, i, d, sizeof *d)) return unreachable(i, err);
    }
    return PUMICE_OK;
}

/* Weights by name, type, shape and scale, and the version: what must be the same on all ranks. */
static uint64_t hash_model(const pum_model_def *def)
{
    uint64_t h = pum_hash(PUM_HASH_START, pumice_version(), strlen(pumice_version()));
    h = pum_hash(h, &def->hp.n_layers, sizeof def->hp.n_layers);
    for (size_t i = 0; i < def->weights.count; i++) {
        const pum_weight *w = &def->weights.data[i];
        uint32_t type = (uint32_t)w->dtype;
        h = pum_hash(h, w->name, strlen(w->name));
        h = pum_hash(h, &type, sizeof type);
        h = pum_hash(h, &w->rows, sizeof w->rows);
        h = pum_hash(h, &w->cols, sizeof w->cols);
        h = pum_hash(h, &w->scale, sizeof w->scale);
    }
    return h;
}

/* This rank's report; a failure's sentence moves into it from *err. */
static report make_report(pumice_status status, pumice_error *err)
{
    report r = { .status = status };
    if (status != PUMICE_OK) {
        bool told = err && err->text[0];
        snprintf(r.text, sizeof r.text, "%.399s", told ? err->text : pumice_status_name(status));
        pum_error_clear(err);
    }
    return r;
}

static pumice_status decide_cut(const pumice_model *m, const report *all,
                                const pumice_model_params *p, const pum_caps *caps,
                                const pum_tuning *tuning, uint32_t *counts, pumice_error *err)
{
    pum_cut_device worth[PUM_MAX_PARTS];
    uint32_t n = m->transport.n_ranks;
    for (uint32_t i = 0; i < n; i++) {
        if (all[i].model_hash != all[0].model_hash) {
            return pum_fail(err, PUMICE_ERROR_INVALID,
                            "rank %u has another model than rank 0, or another version of Pumice", i);
        }
        worth[i] = (pum_cut_device){ caps, tuning, all[i].room_bytes, all[i].bytes_per_second };
    }
    if (!p->split) return pum_cut_make(&m->def, p->session, worth, n, counts, err);
    memcpy(counts, p->split, n * sizeof *counts);
    return pum_cut_check(&m->def, counts, n, err);
}

pumice_status pum_group_cut(const pumice_model *model, pumice_device *device,
                            const pumice_model_params *params, pumice_status status,
                            uint32_t *out_counts, pumice_error *err)
{
    const pumice_transport *t = &model->transport;
    report mine = make_report(status, err), all[PUM_MAX_PARTS];
    decision d = { 0 };
    if (status == PUMICE_OK) {
        mine.model_hash = hash_model(&model->def);
        mine.room_bytes = pum_vk_device_room_bytes(device->vk);
        mine.bytes_per_second = params->split ? 1 : pum_device_read_rate(device);
    }
    PUM_TRY(gather(t, &mine, all, err));
    for (uint32_t i = 0; t->rank == 0 && i < t->n_ranks; i++) note(&d, i, &all[i]);
    if (t->rank == 0 && d.status == PUMICE_OK) {
        pumice_error why = { 0 };
        d.status = decide_cut(model, all, params, pum_vk_device_caps(device->vk), &device->tuning,
                              d.counts, &why);
        snprintf(d.text, sizeof d.text, "%s", why.text);
    }
    PUM_TRY(spread(t, &d, err));
    if (d.status != PUMICE_OK) return pum_fail(err, d.status, "%s", d.text);
    memcpy(out_counts, d.counts, t->n_ranks * sizeof *out_counts);
    return PUMICE_OK;
}

pumice_status pum_group_agree(const pumice_transport *transport, pumice_status status,
                              pumice_error *err)
{
    const pumice_transport *t = transport;
    report mine = make_report(status, err), all[PUM_MAX_PARTS];
    decision d = { 0 };
    PUM_TRY(gather(t, &mine, all, err));
    for (uint32_t i = 0; t->rank == 0 && i < t->n_ranks; i++) note(&d, i, &all[i]);
    PUM_TRY(spread(t, &d, err));
    return d.status == PUMICE_OK ? PUMICE_OK : pum_fail(err, d.status, "%s", d.text);
}
