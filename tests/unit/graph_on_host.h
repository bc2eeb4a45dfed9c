/* SPDX-License-Identifier: Apache-2.0
 * Runs the graph of a model on the host in double precision, operation by operation, by nothing but
 * the meaning of each as graph.h and args.h state it: a check of the builder that shares no code
 * with it. Weights must be F32; one sequence whose rows lie at consecutive positions and cells. */
#ifndef GRAPH_ON_HOST_H
#define GRAPH_ON_HOST_H

#include <math.h>

#include "model.h"
#include "op.h"
#include "testing.h"

static const double HOST_PI = 3.14159265358979323846;

/* Frequency of a pair in a table of rotary frequencies, in 2^-64 turns. */
static inline uint64_t host_turns(const uint32_t *words, uint32_t pair)
{
    return (uint64_t)words[2 * pair + 1] << 32 | words[2 * pair];
}

enum { HOST_MAX_ROWS = 256, HOST_MAX_SLOTS = 8 };

typedef struct host {
    const pum_model_def *def;
    const pum_graph *graph;
    const int32_t *tokens; /* of the rows, one sequence: row i has position and cell first + i */
    uint32_t first;
    uint32_t slot_row[HOST_MAX_SLOTS];
    double **values; /* by value id; weights are converted when first read */
    double *kv;      /* [2 * layers][cell][kv head * head_dim] */
    uint32_t cells;
    const double *hidden; /* of parts that are not the first: [rows][n_embd] */
} host;

static inline double *host_value(host *h, pum_value_id id)
{
    if (id < 0) return NULL;
    const pum_value *v = &h->graph->values.data[id];
    if (!h->values[id]) {
        h->values[id] = calloc(v->rows * v->cols, sizeof(double));
        assert_non_null(h->values[id]);
        if (v->kind == PUM_VALUE_HIDDEN) {
            memcpy(h->values[id], h->hidden, v->rows * v->cols * sizeof(double));
        }
        if (v->kind == PUM_VALUE_WEIGHT) {
            assert_int_equal(v->dtype, PUM_DTYPE_F32);
            for (uint64_t i = 0; i < v->rows * v->cols; i++) {
                float x;
                memcpy(&x, (const char *)h->def->weights.data[v->source].data + 4 * i, 4);
                h->values[id][i] = x;
            }
        }
    }
    return h->values[id];
}

static inline void host_norm(const pum_node *n, const double *x, const double *w, const double *b,
                             uint64_t cols, double *y)
{
    double mean = 0, squares = 0;
    if (n->params.norm == NORM_LAYER) {
        for (uint64_t i = 0; i < cols; i++) mean += x[i] / (double)cols;
    }
    for (uint64_t i = 0; i < cols; i++) squares += (x[i] - mean) * (x[i] - mean) / (double)cols;
    for (uint64_t i = 0; i < cols; i++) {
        y[i] = (x[i] - mean) / sqrt(squares + (double)n->params.eps) *
               (w ? w[i] + (double)n->params.w_add : 1);
        if (b) y[i] += b[i];
    }
}

static inline void host_rope(host *h, const pum_node *n, const double *x, uint32_t row, double *y)
{
    const pum_params *p = &n->params;
    uint32_t words[256], half = p->rot_dim / 2;
    const pum_value *table = &h->graph->values.data[n->in[PUM_IN_ROPE_FREQ]];
    memcpy(words, h->def->weights.data[table->source].data, 4 * p->rot_dim);
    memcpy(y, x, p->heads * p->head_dim * sizeof *y);
    for (uint32_t head = 0; head < p->heads; head++) {
        for (uint32_t i = 0; i < half; i++) {
            double turns = ldexp((double)((h->first + row) * host_turns(words, i)), -64);
            double c = cos(2 * HOST_PI * turns) * (double)p->scale;
            double s = sin(2 * HOST_PI * turns) * (double)p->scale;
            uint32_t at = head * p->head_dim;
            uint32_t a = at + (p->pairing == ROPE_HALVES ? i : 2 * i);
            uint32_t b = at + (p->pairing == ROPE_HALVES ? i + half : 2 * i + 1);
            y[a] = x[a] * c - x[b] * s;
            y[b] = x[a] * s + x[b] * c;
        }
    }
}

static inline double *host_cell(host *h, pum_value_id cache, uint32_t cell, uint64_t width)
{
    return h->kv + ((uint64_t)h->graph->values.data[cache].source * h->cells + cell) * width;
}

static inline void host_attention(host *h, const pum_node *n, const double *q, uint32_t row,
                                  double *y)
{
    const pum_params *p = &n->params;
    uint32_t cell = h->first + row, d = p->head_dim;
    uint32_t lo = p->window && cell + 1 > p->window ? cell + 1 - p->window : 0;
    uint64_t width = (uint64_t)p->kv_heads * d;
    for (uint32_t head = 0; head < p->heads; head++) {
        double score[HOST_MAX_ROWS], largest = -INFINITY, sum = 0;
        uint32_t kv = head / (p->heads / p->kv_heads) * d;
        for (uint32_t c = lo; c <= cell; c++) {
            const double *k = host_cell(h, n->in[PUM_IN_ATTN_KC], c, width) + kv;
            score[c] = 0;
            for (uint32_t i = 0; i < d; i++) score[c] += q[head * d + i] * k[i] * (double)p->scale;
            double cap = (double)p->softcap;
            if (cap != 0) score[c] = cap * tanh(score[c] / cap);
            largest = fmax(largest, score[c]);
        }
        for (uint32_t c = lo; c <= cell; c++) sum += score[c] = exp(score[c] - largest);
        for (uint32_t i = 0; i < d; i++) {
            y[head * d + i] = 0;
            for (uint32_t c = lo; c <= cell; c++) {
                y[head * d + i] +=
                    score[c] / sum * host_cell(h, n->in[PUM_IN_ATTN_VC], c, width)[kv + i];
            }
        }
    }
}

static inline double host_act(uint32_t act, double x)
{
    switch (act) {
    case ACT_SILU: return x / (1 + exp(-x));
    case ACT_GELU_TANH: return 0.5 * x * (1 + tanh(sqrt(2 / HOST_PI) * (x + 0.044715 * x * x * x)));
    case ACT_GELU_ERF: return 0.5 * x * (1 + erf(x / sqrt(2)));
    case ACT_RELU: return x > 0 ? x : 0;
    case ACT_RELU2: return x > 0 ? x * x : 0;
    case ACT_GELU_QUICK: return x / (1 + exp(-1.702 * x));
    default: return x;
    }
}

static inline void host_row(host *h, const pum_node *n, uint32_t row)
{
    const pum_value *values = h->graph->values.data;
    uint64_t cols = n->out >= 0 ? values[n->out].cols : 0;
    uint64_t width = (uint64_t)n->params.kv_heads * n->params.head_dim;
    double *y = n->out >= 0 ? host_value(h, n->out) + row * cols : NULL;
    const double *in[4] = { NULL };
    for (uint32_t i = 0; i < pum_op_inputs(n->op); i++) {
        if (n->in[i] < 0 || values[n->in[i]].kind == PUM_VALUE_KV) continue;
        bool by_row = (values[n->in[i]].kind == PUM_VALUE_ACT && n->op != PUM_OP_GATHER_ROWS) ||
                      values[n->in[i]].kind == PUM_VALUE_LOGITS ||
                      values[n->in[i]].kind == PUM_VALUE_HIDDEN;
        in[i] = host_value(h, n->in[i]) + (by_row ? row * values[n->in[i]].cols : 0);
    }
    switch (n->op) {
    case PUM_OP_EMBED:
        for (uint64_t i = 0; i < cols; i++) {
            uint64_t at = n->params.row_field == ROW_POS ? h->first + row : (uint64_t)h->tokens[row];
            y[i] = (double)n->params.scale * in[0][at * cols + i];
        }
        break;
    case PUM_OP_NORM: {
        uint64_t heads = n->params.heads > 1 ? n->params.heads : 1, part = cols / heads;
        for (uint64_t i = 0; i < heads; i++) {
            host_norm(n, in[0] + i * part, in[1], in[2], part, y + i * part);
        }
        break;
    }
    case PUM_OP_LIMIT:
        for (uint64_t i = 0; i < cols; i++) {
            double x = (double)n->params.scale * in[0][i];
            double cap = (double)n->params.softcap, cut = (double)n->params.clamp;
            y[i] = cap != 0 ? cap * tanh(x / cap) : cut != 0 ? fmin(fmax(x, -cut), cut) : x;
        }
        break;
    case PUM_OP_MATMUL:
        for (uint64_t i = 0; i < cols; i++) {
            uint64_t k = values[n->in[PUM_IN_MATMUL_W]].cols;
            y[i] = 0;
            for (uint64_t j = 0; j < k; j++) y[i] += in[0][i * k + j] * in[1][j];
            if (n->params.scale != 0) y[i] *= (double)n->params.scale;
            if (in[2]) y[i] += in[2][i];
        }
        break;
    case PUM_OP_ROPE: host_rope(h, n, in[0], row, y); break;
    case PUM_OP_KV_STORE:
        memcpy(host_cell(h, n->in[PUM_IN_KV_KC], h->first + row, width), in[0],
               width * sizeof(double));
        memcpy(host_cell(h, n->in[PUM_IN_KV_VC], h->first + row, width), in[1],
               width * sizeof(double));
        break;
    case PUM_OP_ATTENTION: host_attention(h, n, in[0], row, y); break;
    case PUM_OP_ACT:
        for (uint64_t i = 0; i < cols; i++) {
            y[i] = host_act(n->params.act, in[0][i]) * (in[1] ? in[1][i] : 1);
        }
        break;
    case PUM_OP_ADD:
        for (uint64_t i = 0; i < cols; i++) y[i] = (double)n->params.scale * in[0][i] + in[1][i];
        break;
    case PUM_OP_COPY: memcpy(y, in[0], cols * sizeof *y); break;
    case PUM_OP_GATHER_ROWS: memcpy(y, in[0] + h->slot_row[row] * cols, cols * sizeof *y); break;
    default: fail_msg("the host cannot run '%s'", pum_op_name(n->op));
    }
}

/* Runs a graph on the host; the logits' rows are copied to out_logits. Every node also passes its
 * op's shape rule. */
static inline void host_run(host *h, const pum_graph *graph, const int32_t *tokens, uint32_t first,
                            double *out_logits)
{
    h->graph = graph;
    h->tokens = tokens;
    h->first = first;
    h->values = calloc(graph->values.count, sizeof *h->values);
    assert_non_null(h->values);
    for (size_t i = 0; i < graph->nodes.count; i++) {
        const pum_node *n = &graph->nodes.data[i];
        pumice_error err = { 0 };
        if (pum_op_get(n->op)->check(graph, n, &err)) fail_msg("%s", err.text);
        if (n->op == PUM_OP_ARGMAX || n->op == PUM_OP_SAMPLE || n->op == PUM_OP_SCORE) continue;
        bool logits = n->out >= 0 && graph->values.data[n->out].kind == PUM_VALUE_LOGITS;
        uint64_t rows = graph->rows; /* of the logits only those that the input has */
        if (n->op == PUM_OP_LIMIT && n->params.rows) rows = n->params.rows;
        else if (n->out >= 0) {
            bool matmul = logits && n->op == PUM_OP_MATMUL;
            rows = graph->values.data[matmul ? n->in[PUM_IN_MATMUL_X] : n->out].rows;
        }
        for (uint32_t row = 0; row < rows; row++) host_row(h, n, row);
        if (logits) {
            memcpy(out_logits, h->values[n->out],
                   rows * graph->values.data[n->out].cols * sizeof *out_logits);
        }
    }
    for (size_t i = 0; i < graph->values.count; i++) free(h->values[i]);
    free(h->values);
    h->values = NULL;
}

/* Builds and runs one pass; build.head and n_slots decide which logits come out. */
static inline void host_pass(host *h, pum_head head, uint32_t n_slots, const int32_t *tokens,
                             uint32_t first, uint32_t rows, double *out_logits)
{
    pum_graph graph;
    pumice_error err = { 0 };
    pum_build build = { .rows = rows,
                        .n_slots = n_slots,
                        .one_sequence = true,
                        .head = head,
                        .kv_type_k = PUM_DTYPE_F32,
                        .kv_type_v = PUM_DTYPE_F32,
                        .kv_cells = h->cells,
                        .step = pum_step_layout_make(HOST_MAX_ROWS, HOST_MAX_SLOTS, 1, h->cells),
                        .logits_rows = HOST_MAX_ROWS };
    if (pum_model_build(h->def, &build, &graph, &err)) fail_msg("%s", err.text);
    host_run(h, &graph, tokens, first, out_logits);
    pum_graph_free(&graph);
}

static inline host host_make(const pum_model_def *def)
{
    host h = { .def = def, .cells = HOST_MAX_ROWS };
    h.kv = calloc((size_t)2 * def->hp.n_layers * h.cells * def->hp.n_kv_heads * def->hp.head_dim,
                  sizeof *h.kv);
    assert_non_null(h.kv);
    return h;
}

static inline double worst_difference(const double *a, const double *b, size_t n)
{
    double worst = 0;
    for (size_t i = 0; i < n; i++) worst = fmax(worst, fabs(a[i] - b[i]));
    return worst;
}

#endif
