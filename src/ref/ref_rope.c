/* SPDX-License-Identifier: Apache-2.0
 * Rotary embedding and the store into the paged KV cache, in double precision: rope, kv_store,
 * rope_kv. Angles are exact: position times a 64-bit fraction of a turn, modulo one turn. Rows
 * whose sequence is ROW_INACTIVE take no part in kv_store and rope_kv; plain rope treats all rows
 * alike. */
#include "ref_inner.h"

/* A paged cache of a step */
typedef struct cache_place {
    const pum_ref_binding *step, *cache;
    ref_kv_shape shape;
    uint32_t type;
} cache_place;

static const uint32_t *row_of(const pum_ref_binding *step, uint64_t r)
{
    return (const uint32_t *)step->data + STEP_ROWS_AT + r * STEP_ROW_WORDS;
}

/* Stores the vector of a head in the row's cell; false when that is outside the bindings. */
static bool put(const cache_place *p, const uint32_t *row, uint32_t head, const float *v)
{
    uint64_t page;
    if (!ref_kv_find(p->step, p->cache, p->type, &p->shape, row[ROW_SEQ], row[ROW_CELL], head, &page))
        return false;
    pum_ref_kv_put(p->cache->data, p->type, page, row[ROW_CELL] % KV_PAGE, p->shape.head_dim, v);
    return true;
}

/* ---- rotation ---- */

typedef struct rotation {
    const uint32_t *freq; /* tables of two words a pair: low, high */
    uint32_t pairing, rot_dim, head_dim;
    double scale;
} rotation;

/* The first rot_dim dims of `in` into `out`. */
static void rotate_block(const rotation *rot, const float *in, const uint32_t *row, uint32_t position,
                         double *out, double *out_scale)
{
    const uint32_t *table = rot->freq + (size_t)row[ROW_ROPE] * rot->rot_dim;
    for (uint32_t i = 0; i < rot->rot_dim / 2; i++) {
        uint64_t freq = (uint64_t)table[2 * i + 1] << 32 | table[2 * i];
        double angle =
            6.28318530717958647693 * ((double)(position * freq) / 18446744073709551616.0);
        uint32_t d0 = rot->pairing == ROPE_INTERLEAVED ? 2 * i : i;
        uint32_t d1 = rot->pairing == ROPE_INTERLEAVED ? 2 * i + 1 : i + rot->rot_dim / 2;
        double c = rot->scale * cos(angle), s = rot->scale * sin(angle), x0 = in[d0], x1 = in[d1];
        out[d0] = x0 * c - x1 * s;
        out[d1] = x0 * s + x1 * c;
        out_scale[d0] = out_scale[d1] = fabs(rot->scale) * (fabs(x0) + fabs(x1));
    }
}

/* The head `in`, rotated for a row, into out[head_dim]; the sums of the terms' absolute values into
 * scale. */
static void rotate(const rotation *rot, const float *in, const uint32_t *row, double *out,
                   double *out_scale)
{
    uint32_t n = rot->rot_dim, width = rot->pairing == ROPE_2D ? 2 * n : n;
    rotate_block(rot, in, row, row[ROW_POS], out, out_scale);
    if (width > n) rotate_block(rot, in + n, row, row[ROW_POS2], out + n, out_scale + n);
    for (uint32_t d = width; d < rot->head_dim; d++) {
        out[d] = in[d];
        out_scale[d] = fabs((double)in[d]);
    }
}

/* Do the rotated dims fit a head, and has each row its table? */
static bool rotation_fits(const rotation *rot, const pum_ref_binding *freq, const pum_ref_binding *words,
                          uint32_t rows)
{
    uint64_t blocks = rot->pairing == ROPE_2D ? 2 : 1, tables = 0;
    if (!ref_holds(words, rows, STEP_ROW_WORDS, STEP_ROWS_AT, STEP_ROW_WORDS)) return false;
    for (uint64_t r = 0; r < rows; r++) tables = PUM_MAX(tables, row_of(words, r)[ROW_ROPE] + 1ull);
    return rot->head_dim > 0 && blocks * rot->rot_dim <= rot->head_dim && tables <= UINT32_MAX &&
           ref_holds(freq, (uint32_t)tables, rot->rot_dim, 0, rot->rot_dim);
}

bool pum_ref_rope(const pum_ref_step *step)
{
    const pum_args_rope *a = step->args;
    const float *x = step->bind[0].data;
    float *y = step->bind[3].data;
    uint64_t width = (uint64_t)a->heads * a->head_dim;
    rotation rot = { .freq = step->bind[1].data,
                     .pairing = step->spec[PUM_SPEC_ROPE_PAIRING],
                     .rot_dim = a->rot_dim,
                     .head_dim = a->head_dim,
                     .scale = a->scale };
    if (!rotation_fits(&rot, &step->bind[1], &step->bind[2], a->rows) ||
        !ref_holds(&step->bind[0], a->rows, a->x_stride, a->x_first, width) ||
        !ref_holds(&step->bind[3], a->rows, a->y_stride, a->y_first, width))
        return false;
    double *out = pum_alloc_array(2 * (size_t)a->head_dim, sizeof *out), *scale = out + a->head_dim;
    if (!out) return false;
    for (uint64_t r = 0; r < a->rows; r++) {
        for (uint32_t h = 0; h < a->heads; h++) {
            uint64_t from = r * a->x_stride + a->x_first + (uint64_t)h * a->head_dim;
            uint64_t to = r * a->y_stride + a->y_first + (uint64_t)h * a->head_dim;
            rotate(&rot, x + from, row_of(&step->bind[2], r), out, scale);
            for (uint32_t d = 0; d < a->head_dim; d++) {
                y[to + d] = (float)out[d];
                if (step->scale) step->scale[to + d] = scale[d];
            }
        }
    }
    pum_free(out);
    return true;
}

bool pum_ref_kv_store(const pum_ref_step *step)
{
    const pum_args_kv_store *a = step->args;
    const float *k = step->bind[0].data, *v = step->bind[1].data;
    cache_place kp = { &step->bind[2], &step->bind[3], { a->kv_heads, a->head_dim, a->table_at, a->table_stride },
                       step->spec[PUM_SPEC_KV_STORE_KT] };
    cache_place vp = kp;
    vp.cache = &step->bind[4];
    vp.type = step->spec[PUM_SPEC_KV_STORE_VT];
    uint64_t width = (uint64_t)a->kv_heads * a->head_dim;
    if (!ref_holds(&step->bind[0], a->rows, a->k_stride, a->k_first, width) ||
        !ref_holds(&step->bind[1], a->rows, a->v_stride, a->v_first, width) ||
        !ref_holds(&step->bind[2], a->rows, STEP_ROW_WORDS, STEP_ROWS_AT, STEP_ROW_WORDS))
        return false;
    for (uint64_t r = 0; r < a->rows; r++) {
        const uint32_t *row = row_of(&step->bind[2], r);
        if (row[ROW_SEQ] == ROW_INACTIVE) continue;
        for (uint32_t h = 0; h < a->kv_heads; h++) {
            uint64_t in = (uint64_t)h * a->head_dim;
            if (!put(&kp, row, h, k + r * a->k_stride + a->k_first + in) ||
                !put(&vp, row, h, v + r * a->v_stride + a->v_first + in))
                return false;
        }
    }
    return true;
}

bool pum_ref_rope_kv(const pum_ref_step *step)
{
    const pum_args_rope_kv *a = step->args;
    const float *q = step->bind[0].data, *k = step->bind[1].data, *v = step->bind[2].data;
    float *y = step->bind[5].data;
    const pum_ref_binding *words = &step->bind[4];
    cache_place kp = { words, &step->bind[6], { a->kv_heads, a->head_dim, a->table_at, a->table_stride },
                       step->spec[PUM_SPEC_ROPE_KV_KT] };
    cache_place vp = kp;
    vp.cache = &step->bind[7];
    vp.type = step->spec[PUM_SPEC_ROPE_KV_VT];
    rotation rot = { .freq = step->bind[3].data,
                     .pairing = step->spec[PUM_SPEC_ROPE_KV_PAIRING],
                     .rot_dim = a->rot_dim,
                     .head_dim = a->head_dim,
                     .scale = a->scale };
    uint64_t width = (uint64_t)a->heads * a->head_dim,
             kv_width = (uint64_t)a->kv_heads * a->head_dim;
    if (!rotation_fits(&rot, &step->bind[3], words, a->rows) ||
        !ref_holds(&step->bind[0], a->rows, a->q_stride, a->q_first, width) ||
        !ref_holds(&step->bind[1], a->rows, a->k_stride, a->k_first, kv_width) ||
        !ref_holds(&step->bind[2], a->rows, a->v_stride, a->v_first, kv_width) ||
        !ref_holds(&step->bind[5], a->rows, a->y_stride, 0, width))
        return false;
    double *out = pum_alloc_array(3 * (size_t)a->head_dim, sizeof *out);
    if (!out) return false;
    double *scale = out + a->head_dim;
    float *rotated = (float *)(void *)(scale + a->head_dim);
    bool ok = true;
    for (uint64_t r = 0; r < a->rows && ok; r++) {
        const uint32_t *row = row_of(words, r);
        if (row[ROW_SEQ] == ROW_INACTIVE) continue;
        for (uint32_t h = 0; h < a->heads; h++) {
            uint64_t in = (uint64_t)h * a->head_dim, to = r * a->y_stride + in;
            rotate(&rot, q + r * a->q_stride + a->q_first + in, row, out, scale);
            for (uint32_t d = 0; d < a->head_dim; d++) {
                y[to + d] = (float)out[d];
                if (step->scale) step->scale[to + d] = scale[d];
            }
        }
        for (uint32_t h = 0; h < a->kv_heads && ok; h++) {
            uint64_t in = (uint64_t)h * a->head_dim;
            rotate(&rot, k + r * a->k_stride + a->k_first + in, row, out, scale);
            for (uint32_t d = 0; d < a->head_dim; d++) rotated[d] = (float)out[d];
            ok = put(&kp, row, h, rotated) &&
                 put(&vp, row, h, v + r * a->v_stride + a->v_first + in);
        }
    }
    pum_free(out);
    return ok;
}
