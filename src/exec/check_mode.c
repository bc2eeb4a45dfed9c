/* SPDX-License-Identifier: Apache-2.0
 * Check mode: a plan step by step on the device, each compared with the host's reference kernels on
 * the same inputs, so that the first wrong step is named instead of its consequences. What "equal"
 * means is decided by the kernel's tolerance (shaders/kernels.toml) and the scale the reference
 * reports; of kernels this file knows only the names of bindings: "y" is f32, "y8" has 8 bits, "kc" and "vc"
 * are as the constants KT and VT say, all else is compared word by word. */
#include <math.h>
#include <string.h>

#include "args.h"
#include "exec_internal.h"
#include "ref.h"

/* One binding of the running step on the host. */
typedef struct image {
    uint8_t *in;   /* what the device held before: `want`, or its own memory where that can be seen */
    uint8_t *want; /* the reference writes over it */
    uint8_t *got;  /* what the device holds after; only of bindings that are written */
    size_t want_capacity, got_capacity;
} image;

typedef struct checker {
    pum_vk_device *device;
    const pum_exec_buffers *buffers;
    const pum_step *step;
    image images[PUM_MAX_BINDINGS];
    double *scale; /* of "y" */
    size_t scale_capacity;
    pum_exec_check *out;
    pumice_error *err;
} checker;

/* ---- host copies ---- */

static pumice_status no_memory(checker *c)
{
    return pum_fail(c->err, PUMICE_ERROR_HOST_MEMORY, "no memory to check step '%s'",
                    c->step->label);
}

static pumice_status make_room(checker *c, uint8_t **bytes, size_t *capacity, uint64_t wanted)
{
    if (wanted <= *capacity) return PUMICE_OK;
    pum_free(*bytes);
    *capacity = 0;
    *bytes = wanted > SIZE_MAX / 2 ? NULL : pum_alloc((size_t)wanted);
    if (!*bytes) return no_memory(c);
    *capacity = (size_t)wanted;
    return PUMICE_OK;
}

static pumice_status read_before(checker *c, uint32_t i)
{
    const pum_binding *b = &c->step->bind[i];
    pum_vk_buffer *buffer = pum_exec_buffer(c->buffers, b->buffer);
    image *im = &c->images[i];
    if (!buffer || b->offset_bytes + b->size_bytes > buffer->size_bytes) {
        return pum_fail(c->err, PUMICE_ERROR_INTERNAL, "step '%s' binds no buffer", c->step->label);
    }
    bool written = pum_kernels[c->step->kernel].access[i] & PUM_ACCESS_W;
    if (!written && buffer->mapped && buffer->coherent) {
        im->in = (uint8_t *)buffer->mapped + b->offset_bytes;
        return PUMICE_OK;
    }
    PUM_TRY(make_room(c, &im->want, &im->want_capacity, b->size_bytes));
    im->in = im->want;
    return pum_vk_buffer_read(c->device, buffer, b->offset_bytes, im->want, b->size_bytes, c->err);
}

static pumice_status read_after(checker *c, uint32_t i)
{
    const pum_binding *b = &c->step->bind[i];
    image *im = &c->images[i];
    PUM_TRY(make_room(c, &im->got, &im->got_capacity, b->size_bytes));
    return pum_vk_buffer_read(c->device, pum_exec_buffer(c->buffers, b->buffer), b->offset_bytes, im->got,
                              b->size_bytes, c->err);
}

/* ---- the two runs ---- */

/* Steps [first, end) of the plan, in one submit. */
static pumice_status run_steps(checker *c, const pum_step *steps, size_t count)
{
    pum_plan part = { 0 };
    pum_exec *exec = NULL;
    pum_step *copy = pum_alloc_array(count, sizeof *copy);
    if (!copy) return no_memory(c);
    memcpy(copy, steps, count * sizeof *copy);
    for (size_t i = 0; i < count; i++) copy[i].submit_end = i + 1 == count;
    part.steps.data = copy;
    part.steps.count = part.steps.capacity = count;
    pumice_status status = pum_exec_create(c->device, &part, c->buffers, false, &exec, c->err);
    if (status == PUMICE_OK) status = pum_exec_run(exec, NULL, c->err);
    pum_exec_destroy(&exec);
    pum_free(copy);
    return status;
}

static pumice_status run_on_host(checker *c)
{
    const pum_kernel_info *k = &pum_kernels[c->step->kernel];
    pum_ref_step ref = { .family = k->family,
                         .weight = (pum_dtype)k->weight,
                         .spec = c->step->spec,
                         .args = c->step->args };
    for (uint32_t i = 0; i < k->n_bindings; i++) {
        ref.bind[i] = (pum_ref_binding){ c->images[i].in, (size_t)c->step->bind[i].size_bytes };
        if (strcmp(k->binding[i], "y") != 0) continue;
        size_t n = (size_t)(c->step->bind[i].size_bytes / 4);
        if (n > c->scale_capacity) {
            pum_free(c->scale);
            c->scale = pum_alloc_array(n, sizeof *c->scale);
            c->scale_capacity = c->scale ? n : 0;
            if (!c->scale) return no_memory(c);
        }
        memset(c->scale, 0, n * sizeof *c->scale);
        ref.scale = c->scale;
    }
    if (pum_ref_run(&ref)) return PUMICE_OK;
    return pum_fail(c->err, PUMICE_ERROR_INTERNAL,
                    "step '%s' (%s) does not fit its bindings, says the reference", c->step->label,
                    k->name);
}

/* ---- comparison ---- */

typedef enum item_kind { ITEM_F32, ITEM_F16, ITEM_WORD, ITEM_KV, ITEM_Q8 } item_kind;

static uint32_t constant(const checker *c, const char *name)
{
    const pum_kernel_info *k = &pum_kernels[c->step->kernel];
    for (uint32_t i = 0; i < k->n_spec; i++) {
        if (strcmp(k->spec[i], name) == 0) return c->step->spec[i];
    }
    return 0;
}

/* The KV type that a binding's constant names. */
static uint32_t kv_type(const checker *c, uint32_t binding)
{
    return constant(c, strcmp(pum_kernels[c->step->kernel].binding[binding], "kc") == 0 ? "KT" : "VT");
}

/* Of the kernels that write caches. */
static uint32_t kv_head_dim(const checker *c)
{
    pum_args_kv_store store;
    pum_args_rope_kv rope;
    memcpy(&store, c->step->args, sizeof store);
    memcpy(&rope, c->step->args, sizeof rope);
    return pum_kernels[c->step->kernel].args == PUM_ARGS_ROPE_KV ? rope.head_dim : store.head_dim;
}

static item_kind kind_of(const checker *c, uint32_t binding)
{
    const pum_kernel_info *k = &pum_kernels[c->step->kernel];
    const char *name = k->binding[binding];
    if (strcmp(name, "y") == 0) return ITEM_F32;
    if (strcmp(name, "y8") == 0) return ITEM_Q8;
    if (strcmp(name, "kc") != 0 && strcmp(name, "vc") != 0) return ITEM_WORD;
    uint32_t type = kv_type(c, binding);
    return type == KV_F32 ? ITEM_F32 : type == KV_F16 ? ITEM_F16 : ITEM_KV;
}

/* Numbers in a row of the kernels that write 8 bits: `cols` is the first of their arguments. */
static uint32_t q8_cols(const checker *c)
{
    uint32_t cols;
    memcpy(&cols, c->step->args, sizeof cols);
    return cols;
}

/* Rotated keys are differences of products: their error is relative to the inputs, not to the
 * result. */
static double largest_input(const checker *c)
{
    const pum_kernel_info *k = &pum_kernels[c->step->kernel];
    double largest = 0.0;
    for (uint32_t i = 0; i < k->n_bindings; i++) {
        if (strcmp(k->binding[i], "k") != 0 && strcmp(k->binding[i], "v") != 0) continue;
        for (uint64_t at = 0; at + 4 <= c->step->bind[i].size_bytes; at += 4) {
            float v;
            memcpy(&v, c->images[i].in + at, 4);
            if (isfinite(v)) largest = fmax(largest, fabs((double)v));
        }
    }
    return largest;
}

typedef struct comparison {
    item_kind kind;
    double tolerance, floor;
    uint32_t kv_type, head_dim; /* of ITEM_KV */
    uint32_t cols;              /* of ITEM_Q8 */
    const double *scale; /* per item, or NULL: the size of what is wanted */
} comparison;

typedef struct item {
    double want, got, bound;
} item;

/* Item `i` of a binding; true when both sides are the same bits and there is nothing to compare. */
static bool load_item(const comparison *m, const image *im, uint64_t i, item *out)
{
    if (m->kind == ITEM_F16) {
        uint16_t want, got;
        memcpy(&want, im->want + 2 * i, 2);
        memcpy(&got, im->got + 2 * i, 2);
        if (want == got) return true;
        out->want = (double)pum_ref_f16_to_f32(want);
        out->got = (double)pum_ref_f16_to_f32(got);
        /* one unit in the last place on top: a value near a rounding boundary may fall on either
         * side */
        out->bound = (m->tolerance + 0x1p-10) * fmax(fabs(out->want), m->floor) + 0x1p-24;
        return false;
    }
    uint32_t want, got;
    memcpy(&want, im->want + 4 * i, 4);
    memcpy(&got, im->got + 4 * i, 4);
    if (want == got) return true;
    if (m->kind == ITEM_KV && pum_ref_kv_near(m->kv_type, m->head_dim, i, want, got)) return true;
    if (m->kind == ITEM_Q8 && pum_ref_q8_near(m->cols, i, want, got, m->tolerance)) return true;
    if (m->kind == ITEM_WORD || m->kind == ITEM_KV || m->kind == ITEM_Q8) {
        *out = (item){ want, got, 0.0 };
        return false;
    }
    float w, g;
    memcpy(&w, &want, 4);
    memcpy(&g, &got, 4);
    out->want = (double)w;
    out->got = (double)g;
    out->bound = m->tolerance * (m->scale ? m->scale[i] : fmax(fabs(out->want), m->floor)) + 1e-37;
    return false;
}

/* Error over bound: 1 is the limit, infinity a difference that has no size. */
static double ratio_of(const item *v)
{
    if (isnan(v->want) && isnan(v->got)) return 0.0;
    if (!isfinite(v->want) || !isfinite(v->got)) return v->want == v->got ? 0.0 : INFINITY;
    return v->bound > 0.0 ? fabs(v->got - v->want) / v->bound : INFINITY;
}

static void compare_binding(checker *c, uint32_t binding)
{
    const pum_kernel_info *k = &pum_kernels[c->step->kernel];
    comparison m = { .kind = kind_of(c, binding), .tolerance = k->tolerance };
    if (m.kind == ITEM_KV) {
        m.kv_type = kv_type(c, binding);
        m.head_dim = kv_head_dim(c);
    }
    if (m.kind == ITEM_Q8) m.cols = q8_cols(c);
    if (strcmp(k->binding[binding], "y") == 0) m.scale = c->scale;
    else if (m.kind != ITEM_WORD && m.kind != ITEM_Q8) m.floor = largest_input(c);
    uint64_t n = c->step->bind[binding].size_bytes / (m.kind == ITEM_F16 ? 2 : 4), n_bad = 0,
             worst_at = 0;
    double worst = 0.0;
    item worst_item = { 0 };
    for (uint64_t i = 0; i < n; i++) {
        item v;
        if (load_item(&m, &c->images[binding], i, &v)) continue;
        double ratio = ratio_of(&v);
        if (ratio > 1.0) n_bad++;
        if (ratio > worst) {
            worst = ratio;
            worst_at = i;
            worst_item = v;
        }
    }
    pum_exec_check *out = c->out;
    out->worst = fmax(out->worst, worst);
    if (n_bad == 0 || out->bad) return;
    out->bad = true;
    out->kernel = k->name;
    out->binding = k->binding[binding];
    memcpy(out->label, c->step->label, sizeof out->label);
    out->element = worst_at;
    out->n_elements = n;
    out->n_bad = n_bad;
    out->want = worst_item.want;
    out->got = worst_item.got;
    out->bound = worst_item.bound;
}

/* The step on the device and on the host. */
static pumice_status check_step(checker *c, const pum_step *step)
{
    c->step = step;
    const pum_kernel_info *k = &pum_kernels[step->kernel];
    for (uint32_t i = 0; i < k->n_bindings; i++) PUM_TRY(read_before(c, i));
    PUM_TRY(run_on_host(c)); /* first: the device may write where it reads */
    PUM_TRY(run_steps(c, step, 1));
    for (uint32_t i = 0; i < k->n_bindings; i++) {
        if (!(k->access[i] & PUM_ACCESS_W)) continue;
        PUM_TRY(read_after(c, i));
        compare_binding(c, i);
    }
    return PUMICE_OK;
}

static void free_checker(checker *c)
{
    for (size_t i = 0; i < PUM_MAX_BINDINGS; i++) {
        pum_free(c->images[i].want);
        pum_free(c->images[i].got);
    }
    pum_free(c->scale);
}

pumice_status pum_exec_check_run(pum_vk_device *device, const pum_plan *plan,
                                 const pum_exec_buffers *buffers, pum_exec_check *out_check,
                                 pumice_error *err)
{
    checker c = { .device = device, .buffers = buffers, .out = out_check, .err = err };
    *out_check = (pum_exec_check){ 0 };
    pumice_status status = pum_exec_check_kernels(plan, err);
    for (size_t i = 0; i < plan->steps.count && status == PUMICE_OK && !out_check->bad; i++) {
        status = check_step(&c, &plan->steps.data[i]);
        if (status == PUMICE_OK) {
            out_check->step = i;
            out_check->n_steps++;
        }
    }
    free_checker(&c);
    if (status != PUMICE_OK) *out_check = (pum_exec_check){ 0 };
    return status;
}

/* ---- only what this driver has not proven yet ---- */

/* Products are proven on a part of their columns and rows: more says no more, and takes the host too long. */
enum { LEAST_COLUMNS = 32, MOST_ROWS = 32, MOST_PRODUCTS = 1 << 20 };
/* A binding that is larger and cannot be looked at where it lies is not copied for this. */
enum { MOST_BYTES = 512 << 20 };

/* Cuts items that `groups` workgroups share to about `most`, such that the workgroups returned are just those that
 * a kernel needs for them, whatever its tile is. */
static uint32_t whole_groups(uint32_t *items, uint32_t groups, uint64_t most)
{
    uint64_t each = pum_ceil_div(*items, groups), kept = PUM_MAX(most / each, 1);
    if (kept >= groups) return groups;
    *items = (uint32_t)pum_ceil_div(kept * *items, groups);
    return (uint32_t)kept;
}

/* True when the step was made smaller. */
static bool take_part(pum_step *step)
{
    pum_args_matmul a;
    if (pum_kernels[step->kernel].args != PUM_ARGS_MATMUL) return false;
    memcpy(&a, step->args, sizeof a);
    pum_args_matmul part = a;
    step->grid[1] = whole_groups(&part.rows, step->grid[1], MOST_ROWS);
    uint64_t columns = MOST_PRODUCTS / ((uint64_t)part.rows * a.k);
    step->grid[0] = whole_groups(&part.n, step->grid[0], PUM_MAX(columns, LEAST_COLUMNS));
    memcpy(step->args, &part, sizeof part);
    return part.n < a.n || part.rows < a.rows;
}

static bool too_large(const checker *c, const pum_step *step)
{
    for (uint32_t i = 0; i < pum_kernels[step->kernel].n_bindings; i++) {
        const pum_vk_buffer *buffer = pum_exec_buffer(c->buffers, step->bind[i].buffer);
        if (step->bind[i].size_bytes > MOST_BYTES && !(buffer && buffer->mapped)) return true;
    }
    return false;
}

static pumice_status prove_step(checker *c, const pum_step *step)
{
    pum_step part = *step;
    pum_vk_pipeline_key key = pum_exec_key(step);
    bool smaller = take_part(&part);
    if (too_large(c, &part)) {
        pum_log_write(pum_vk_device_log(c->device), PUMICE_LOG_DEBUG, "'%s' is too large to be proven here",
                      step->label);
        smaller = true;
    } else {
        PUM_TRY(check_step(c, &part));
        c->out->n_steps++;
    }
    if (c->out->bad) return PUMICE_OK;
    pum_vk_set_proven(c->device, &key);
    return smaller ? run_steps(c, step, 1) : PUMICE_OK;
}

pumice_status pum_exec_prove(pum_vk_device *device, const pum_plan *plan, const pum_exec_buffers *buffers,
                             atomic_int *cancel, pum_exec_check *out_check, pumice_error *err)
{
    checker c = { .device = device, .buffers = buffers, .out = out_check, .err = err };
    const pum_step *steps = plan->steps.data;
    size_t n = plan->steps.count, done = 0;
    *out_check = (pum_exec_check){ 0 };
    pumice_status status = pum_exec_check_kernels(plan, err);
    for (size_t i = 0; i < n && status == PUMICE_OK && !out_check->bad; i++) {
        pum_vk_pipeline_key key = pum_exec_key(&steps[i]);
        if (pum_vk_is_proven(device, &key)) continue;
        if (cancel && atomic_load(cancel)) {
            status = pum_fail(err, PUMICE_ERROR_CANCELLED, "the work was cancelled");
            break;
        }
        c.step = &steps[i];
        if (done < i) status = run_steps(&c, steps + done, i - done); /* what it needs */
        if (status == PUMICE_OK) status = prove_step(&c, &steps[i]);
        out_check->step = i;
        done = i + 1;
    }
    free_checker(&c);
    return status;
}
