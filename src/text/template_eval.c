/* SPDX-License-Identifier: Apache-2.0
 * Renders a tree. Scopes are Jinja's: a loop's body and a macro have their own, `if` has none, and
 * what is set inside a loop is gone after it (hence namespace()). */
#include "template_impl.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_DEPTH = 300, MAX_BYTES = 256 << 20, MAX_OUTPUT = 64 << 20 };
static const uint64_t max_steps = 20000000;

/* ---- state ---- */

pumice_status tpl_fail(tpl_state *s, const char *fmt, ...)
{
    char text[400];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return pum_fail(s->err, PUMICE_ERROR_INVALID, "chat template, line %u: %s", s->line, text);
}

void *tpl_alloc(tpl_state *s, size_t bytes)
{
    s->arena_bytes += bytes + 16;
    return bytes > MAX_BYTES || s->arena_bytes > MAX_BYTES ? NULL : pum_arena_alloc(&s->arena, bytes);
}

pumice_status tpl_step(tpl_state *s)
{
    return ++s->steps > max_steps ? tpl_fail(s, "it does not come to an end") : PUMICE_OK;
}

static pumice_status push_frame(tpl_state *s, tpl_frame *parent)
{
    tpl_frame *f = tpl_alloc(s, sizeof *f);
    if (!f) return tpl_fail(s, "it needs too much memory");
    f->parent = parent;
    s->frame = f;
    return PUMICE_OK;
}

static tpl_value lookup(const tpl_state *s, const char *name, size_t bytes)
{
    for (const tpl_frame *f = s->frame; f; f = f->parent) {
        const tpl_value *v = tpl_get(&f->vars, name, bytes);
        if (v) return *v;
    }
    tpl_value function;
    if (tpl_find_function(name, bytes, &function)) return function;
    return tpl_undefined(name, bytes);
}

static pumice_status set_name(tpl_state *s, tpl_frame *f, const tpl_node *name, tpl_value v)
{
    tpl_value key = { .type = TPL_TEXT, .as.text = { name->name, name->name_bytes } };
    return tpl_put(s, &f->vars, key, v);
}

/* ---- operators ---- */

static pumice_status undefined_use(tpl_state *s, const tpl_value *v)
{
    return tpl_fail(s, "'%.*s' is undefined", (int)PUM_MIN(v->as.text.n, (size_t)100),
                    v->as.text.s ? v->as.text.s : "");
}

static bool is_integer(const tpl_value *v) { return v->type == TPL_INTEGER || v->type == TPL_BOOL; }
static bool is_number(const tpl_value *v) { return is_integer(v) || v->type == TPL_REAL; }

static int64_t integer_of(const tpl_value *v)
{
    return v->type == TPL_BOOL ? v->as.flag : v->as.integer;
}

static double real_of(const tpl_value *v)
{
    return v->type == TPL_REAL ? v->as.real : (double)integer_of(v);
}

static pumice_status integer_op(tpl_state *s, tpl_op op, int64_t a, int64_t b, tpl_value *out)
{
    /* unsigned arithmetic wraps; Python's would not, and no template counts so far */
    if (op == TPL_ADD) *out = tpl_int((int64_t)((uint64_t)a + (uint64_t)b));
    else if (op == TPL_SUB) *out = tpl_int((int64_t)((uint64_t)a - (uint64_t)b));
    else if (op == TPL_MUL) *out = tpl_int((int64_t)((uint64_t)a * (uint64_t)b));
    else if (b == 0) return tpl_fail(s, "a division by zero");
    else if (b == -1) *out = tpl_int(op == TPL_MOD ? 0 : (int64_t)(0 - (uint64_t)a));
    else {
        int64_t q = a / b, r = a % b;
        if (r != 0 && (r < 0) != (b < 0)) q--, r += b;
        *out = tpl_int(op == TPL_MOD ? r : q);
    }
    return PUMICE_OK;
}

static pumice_status real_op(tpl_state *s, tpl_op op, double a, double b, tpl_value *out)
{
    if ((op == TPL_DIV || op == TPL_FLOOR_DIV || op == TPL_MOD) && b == 0)
        return tpl_fail(s, "a division by zero");
    double r = op == TPL_ADD   ? a + b
               : op == TPL_SUB ? a - b
               : op == TPL_MUL ? a * b
               : op == TPL_DIV ? a / b
               : op == TPL_POW ? pow(a, b)
               : op == TPL_MOD ? a - b * floor(a / b)
                               : floor(a / b);
    *out = tpl_real(r);
    return PUMICE_OK;
}

static pumice_status join_texts(tpl_state *s, const tpl_value *a, const tpl_value *b, tpl_value *out)
{
    pum_text text = { 0 };
    pum_text_add(&text, a->as.text.s, a->as.text.n);
    pum_text_add(&text, b->as.text.s, b->as.text.n);
    return tpl_take(s, &text, out);
}

static pumice_status repeat(tpl_state *s, const tpl_value *v, int64_t times, tpl_value *out)
{
    if (v->type == TPL_LIST) PUM_TRY(tpl_new_list(s, out));
    pum_text text = { 0 };
    pumice_status status = PUMICE_OK;
    for (int64_t i = 0; i < times && status == PUMICE_OK; i++) {
        status = tpl_step(s);
        if (v->type == TPL_TEXT) pum_text_add(&text, v->as.text.s, v->as.text.n);
        for (size_t k = 0; v->type == TPL_LIST && k < v->as.list->count && status == PUMICE_OK; k++)
            status = tpl_push(s, out->as.list, v->as.list->items[k]);
        if (text.count > MAX_OUTPUT) status = tpl_fail(s, "a text is too long");
    }
    if (v->type == TPL_TEXT && status == PUMICE_OK) return tpl_take(s, &text, out);
    pum_text_free(&text);
    return status;
}

static pumice_status binary(tpl_state *s, tpl_op op, const tpl_value *a, const tpl_value *b,
                            tpl_value *out)
{
    if (op == TPL_CONCAT) {
        tpl_value x, y;
        PUM_TRY(tpl_string_of(s, a, &x));
        PUM_TRY(tpl_string_of(s, b, &y));
        return join_texts(s, &x, &y, out);
    }
    if (a->type == TPL_UNDEFINED) return undefined_use(s, a);
    if (b->type == TPL_UNDEFINED) return undefined_use(s, b);
    if (is_number(a) && is_number(b)) {
        if (op == TPL_POW && is_integer(a) && is_integer(b) && integer_of(b) >= 0) {
            double r = pow(real_of(a), real_of(b));
            *out = fabs(r) < 9e15 ? tpl_int((int64_t)r) : tpl_real(r);
            return PUMICE_OK;
        }
        if (is_integer(a) && is_integer(b) && op != TPL_DIV && op != TPL_POW)
            return integer_op(s, op, integer_of(a), integer_of(b), out);
        return real_op(s, op, real_of(a), real_of(b), out);
    }
    if (op == TPL_ADD && a->type == TPL_TEXT && b->type == TPL_TEXT) return join_texts(s, a, b, out);
    if (op == TPL_ADD && a->type == TPL_LIST && b->type == TPL_LIST) {
        PUM_TRY(tpl_new_list(s, out));
        out->tuple = a->tuple;
        for (size_t i = 0; i < a->as.list->count; i++)
            PUM_TRY(tpl_push(s, out->as.list, a->as.list->items[i]));
        for (size_t i = 0; i < b->as.list->count; i++)
            PUM_TRY(tpl_push(s, out->as.list, b->as.list->items[i]));
        return PUMICE_OK;
    }
    if (op == TPL_MUL && (a->type == TPL_TEXT || a->type == TPL_LIST) && is_integer(b))
        return repeat(s, a, integer_of(b), out);
    if (op == TPL_MOD && a->type == TPL_TEXT) return tpl_format(s, a, b, out);
    return tpl_fail(s, "%s and %s cannot be added or multiplied", tpl_type_name(a),
                    tpl_type_name(b));
}

static pumice_status compare(tpl_state *s, tpl_op op, const tpl_value *a, const tpl_value *b,
                             bool *out)
{
    int order = 0;
    if (op == TPL_EQ || op == TPL_NE) {
        *out = tpl_equal(a, b) == (op == TPL_EQ);
        return PUMICE_OK;
    }
    if (op == TPL_IN || op == TPL_NOT_IN) {
        PUM_TRY(tpl_contains(s, b, a, out));
        *out = *out == (op == TPL_IN);
        return PUMICE_OK;
    }
    if (a->type == TPL_UNDEFINED) return undefined_use(s, a);
    if (b->type == TPL_UNDEFINED) return undefined_use(s, b);
    PUM_TRY(tpl_order(s, a, b, &order));
    *out = op == TPL_LT   ? order < 0
           : op == TPL_LE ? order <= 0
           : op == TPL_GT ? order > 0
                          : order >= 0;
    return PUMICE_OK;
}

static pumice_status eval_compare(tpl_state *s, const tpl_node *node, tpl_value *out)
{
    tpl_value left, right;
    bool good = true;
    PUM_TRY(tpl_eval(s, node->a, &left));
    for (const tpl_node *n = node->first; n && good; n = n->next) {
        PUM_TRY(tpl_eval(s, n->a, &right));
        PUM_TRY(compare(s, n->op, &left, &right, &good));
        left = right;
    }
    *out = tpl_bool(good);
    return PUMICE_OK;
}

/* ---- parts of values ---- */

static pumice_status eval_item(tpl_state *s, const tpl_node *node, tpl_value *out)
{
    tpl_value object, index;
    PUM_TRY(tpl_eval(s, node->a, &object));
    PUM_TRY(tpl_eval(s, node->b, &index));
    if (object.type == TPL_UNDEFINED) return undefined_use(s, &object);
    if (object.type == TPL_DICT || object.type == TPL_SPACE) {
        const tpl_value *v = tpl_get_value(object.as.dict, &index);
        if (v) {
            *out = *v;
            return PUMICE_OK;
        }
    }
    if (index.type == TPL_TEXT)
        return tpl_attr(s, &object, index.as.text.s, index.as.text.n, true, out);
    *out = tpl_undefined("", 0);
    if (!is_integer(&index) || (object.type != TPL_LIST && object.type != TPL_TEXT))
        return PUMICE_OK;
    bool list = object.type == TPL_LIST;
    int64_t count = (int64_t)(list ? object.as.list->count
                                   : tpl_chars(object.as.text.s, object.as.text.n));
    int64_t i = integer_of(&index);
    if (i < 0) i += count;
    if (i < 0 || i >= count) return PUMICE_OK;
    if (list) {
        *out = object.as.list->items[i];
        return PUMICE_OK;
    }
    size_t from = tpl_char_at(object.as.text.s, object.as.text.n, (size_t)i);
    size_t to = tpl_char_at(object.as.text.s, object.as.text.n, (size_t)i + 1);
    *out = (tpl_value){ .type = TPL_TEXT, .as.text = { object.as.text.s + from, to - from } };
    return PUMICE_OK;
}

static pumice_status bound(tpl_state *s, const tpl_node *node, int64_t if_absent, int64_t count,
                           int64_t low, int64_t high, int64_t *out)
{
    tpl_value v = tpl_none();
    if (node) PUM_TRY(tpl_eval(s, node, &v));
    *out = if_absent;
    if (v.type == TPL_NONE) return PUMICE_OK;
    if (!is_integer(&v)) return tpl_fail(s, "a slice has %s as its bound", tpl_type_name(&v));
    *out = integer_of(&v) < 0 ? integer_of(&v) + count : integer_of(&v);
    *out = PUM_MAX(low, PUM_MIN(high, *out));
    return PUMICE_OK;
}

static pumice_status eval_slice(tpl_state *s, const tpl_node *node, tpl_value *out)
{
    tpl_value object, v = tpl_int(1), items;
    int64_t from, to;
    PUM_TRY(tpl_eval(s, node->a, &object));
    if (node->body) PUM_TRY(tpl_eval(s, node->body, &v));
    int64_t step = is_integer(&v) ? integer_of(&v) : 1;
    if (object.type == TPL_UNDEFINED) return undefined_use(s, &object);
    if (object.type != TPL_LIST && object.type != TPL_TEXT)
        return tpl_fail(s, "%s cannot be sliced", tpl_type_name(&object));
    if (step == 0) return tpl_fail(s, "a slice has a step of zero");
    PUM_TRY(tpl_items(s, &object, &items));
    int64_t count = (int64_t)items.as.list->count;
    if (step > 0) {
        PUM_TRY(bound(s, node->b, 0, count, 0, count, &from));
        PUM_TRY(bound(s, node->c, count, count, 0, count, &to));
    } else {
        PUM_TRY(bound(s, node->b, count - 1, count, -1, count - 1, &from));
        PUM_TRY(bound(s, node->c, -1, count, -1, count - 1, &to));
    }
    PUM_TRY(tpl_new_list(s, out));
    out->tuple = object.tuple;
    for (int64_t i = from; step > 0 ? i < to : i > to; i += step) {
        PUM_TRY(tpl_push(s, out->as.list, items.as.list->items[i]));
        if (step > count || step < -count) break;
    }
    if (object.type == TPL_LIST) return PUMICE_OK;
    tpl_value nothing = tpl_literal(""), list = *out;
    return tpl_join(s, &list, &nothing, out);
}

static pumice_status eval_args(tpl_state *s, const tpl_node *first, tpl_args *out)
{
    size_t n = 0;
    *out = (tpl_args){ 0 };
    for (const tpl_node *a = first; a; a = a->next) n++;
    out->values = tpl_alloc(s, (n + 1) * sizeof *out->values);
    out->names = tpl_alloc(s, (n + 1) * sizeof *out->names);
    if (!out->values || !out->names) return tpl_fail(s, "it needs too much memory");
    for (const tpl_node *a = first; a; a = a->next) {
        PUM_TRY(tpl_eval(s, a->a, &out->values[out->count]));
        out->names[out->count++] = a->name ? a : NULL;
        out->n_positional += a->name == NULL;
    }
    return PUMICE_OK;
}

static pumice_status eval_call(tpl_state *s, const tpl_node *node, tpl_value *out)
{
    tpl_value callee;
    tpl_args args;
    PUM_TRY(tpl_eval(s, node->a, &callee));
    PUM_TRY(eval_args(s, node->first, &args));
    s->line = node->line;
    return tpl_call(s, &callee, &args, out);
}

static pumice_status eval_filter(tpl_state *s, const tpl_node *node, const tpl_value *input,
                                 tpl_value *out)
{
    tpl_value v;
    tpl_args args;
    if (!node) {
        *out = *input;
        return PUMICE_OK;
    }
    if (input) PUM_TRY(eval_filter(s, node->a, input, &v));
    else PUM_TRY(tpl_eval(s, node->a, &v));
    PUM_TRY(eval_args(s, node->first, &args));
    s->line = node->line;
    return tpl_filter(s, node->name, node->name_bytes, &v, &args, out);
}

static pumice_status eval_test(tpl_state *s, const tpl_node *node, tpl_value *out)
{
    tpl_value v;
    tpl_args args;
    bool good;
    PUM_TRY(tpl_eval(s, node->a, &v));
    PUM_TRY(eval_args(s, node->first, &args));
    s->line = node->line;
    PUM_TRY(tpl_test(s, node->name, node->name_bytes, &v, &args, &good));
    *out = tpl_bool(good != node->negated);
    return PUMICE_OK;
}

static pumice_status eval_members(tpl_state *s, const tpl_node *node, tpl_value *out)
{
    bool dict = node->kind == TPL_N_DICT;
    PUM_TRY(dict ? tpl_new_dict(s, out) : tpl_new_list(s, out));
    out->tuple = node->tuple;
    for (const tpl_node *n = node->first; n; n = n->next) {
        tpl_value key, v;
        if (dict) PUM_TRY(tpl_eval(s, n->key, &key));
        PUM_TRY(tpl_eval(s, n->a, &v));
        PUM_TRY(dict ? tpl_put(s, out->as.dict, key, v) : tpl_push(s, out->as.list, v));
    }
    return PUMICE_OK;
}

static pumice_status eval_sign(tpl_state *s, const tpl_node *node, tpl_value *out)
{
    tpl_value v, zero = tpl_int(0);
    PUM_TRY(tpl_eval(s, node->a, &v));
    if (!is_number(&v)) return tpl_fail(s, "%s has no sign", tpl_type_name(&v));
    return binary(s, node->kind == TPL_N_NEGATE ? TPL_SUB : TPL_ADD, &zero, &v, out);
}

static pumice_status eval_node(tpl_state *s, const tpl_node *node, tpl_value *out)
{
    tpl_value a, b;
    switch (node->kind) {
    case TPL_N_CONST:
        *out = node->value;
        return PUMICE_OK;
    case TPL_N_NAME:
        *out = lookup(s, node->name, node->name_bytes);
        return PUMICE_OK;
    case TPL_N_LIST:
    case TPL_N_DICT:
        return eval_members(s, node, out);
    case TPL_N_ATTR:
        PUM_TRY(tpl_eval(s, node->a, &a));
        if (a.type == TPL_UNDEFINED) return undefined_use(s, &a);
        return tpl_attr(s, &a, node->name, node->name_bytes, false, out);
    case TPL_N_ITEM:
        return eval_item(s, node, out);
    case TPL_N_SLICE:
        return eval_slice(s, node, out);
    case TPL_N_CALL:
        return eval_call(s, node, out);
    case TPL_N_FILTER:
        return eval_filter(s, node, NULL, out);
    case TPL_N_TEST:
        return eval_test(s, node, out);
    case TPL_N_NOT:
        PUM_TRY(tpl_eval(s, node->a, &a));
        *out = tpl_bool(!tpl_truth(&a));
        return PUMICE_OK;
    case TPL_N_NEGATE:
    case TPL_N_POSITIVE:
        return eval_sign(s, node, out);
    case TPL_N_BINARY:
        PUM_TRY(tpl_eval(s, node->a, &a));
        PUM_TRY(tpl_eval(s, node->b, &b));
        s->line = node->line;
        return binary(s, node->op, &a, &b, out);
    case TPL_N_COMPARE:
        return eval_compare(s, node, out);
    case TPL_N_AND:
    case TPL_N_OR:
        PUM_TRY(tpl_eval(s, node->a, out));
        return tpl_truth(out) == (node->kind == TPL_N_OR) ? PUMICE_OK : tpl_eval(s, node->b, out);
    case TPL_N_CHOOSE:
        PUM_TRY(tpl_eval(s, node->a, &a));
        if (tpl_truth(&a)) return tpl_eval(s, node->b, out);
        *out = tpl_undefined("", 0);
        return node->c ? tpl_eval(s, node->c, out) : PUMICE_OK;
    default:
        return tpl_fail(s, "an expression cannot be evaluated");
    }
}

pumice_status tpl_eval(tpl_state *s, const tpl_node *node, tpl_value *out)
{
    *out = tpl_none();
    PUM_TRY(tpl_step(s));
    if (++s->depth > MAX_DEPTH) return tpl_fail(s, "it is nested too deeply");
    s->line = node->line;
    pumice_status status = eval_node(s, node, out);
    s->depth--;
    return status;
}

/* ---- statements ---- */

static pumice_status add_output(tpl_state *s, const tpl_value *v)
{
    PUM_TRY(tpl_print(s, v, false, s->out));
    if (s->out->failed || s->out->count > MAX_OUTPUT) return tpl_fail(s, "its output is too long");
    return PUMICE_OK;
}

/* Renders a body into a value. */
static pumice_status capture(tpl_state *s, const tpl_node *body, tpl_value *out)
{
    pum_text text = { 0 }, *before = s->out;
    tpl_frame *frame = s->frame;
    s->out = &text;
    pumice_status status = push_frame(s, frame);
    if (status == PUMICE_OK) status = tpl_run(s, body);
    s->out = before;
    s->frame = frame;
    if (status == PUMICE_OK) return tpl_take(s, &text, out);
    pum_text_free(&text);
    return status;
}

static pumice_status assign(tpl_state *s, const tpl_node *targets, const tpl_value *v)
{
    const tpl_node *n = targets;
    if (!n->next) {
        if (n->kind == TPL_N_NAME) return set_name(s, s->frame, n, *v);
        tpl_value owner = lookup(s, n->a->name, n->a->name_bytes);
        if (owner.type != TPL_SPACE)
            return tpl_fail(s, "only a namespace's members can be set, not %s's",
                            tpl_type_name(&owner));
        tpl_value key = { .type = TPL_TEXT, .as.text = { n->name, n->name_bytes } };
        return tpl_put(s, owner.as.dict, key, *v);
    }
    tpl_value items;
    size_t i = 0, want = 0;
    for (; n; n = n->next) want++;
    PUM_TRY(tpl_items(s, v, &items));
    if (items.as.list->count != want) {
        return tpl_fail(s, "%zu names are set from %zu values", want, items.as.list->count);
    }
    for (n = targets; n; n = n->next, i++)
        PUM_TRY(set_name(s, s->frame, n, items.as.list->items[i]));
    return PUMICE_OK;
}

/* The items that a loop's condition lets through. */
static pumice_status filter_items(tpl_state *s, const tpl_node *node, const tpl_value *all,
                                  tpl_value *out)
{
    tpl_frame *frame = s->frame;
    PUM_TRY(tpl_new_list(s, out));
    for (size_t i = 0; i < all->as.list->count; i++) {
        tpl_value good;
        PUM_TRY(push_frame(s, frame));
        PUM_TRY(assign(s, node->a, &all->as.list->items[i]));
        PUM_TRY(tpl_eval(s, node->c, &good));
        if (tpl_truth(&good)) PUM_TRY(tpl_push(s, out->as.list, all->as.list->items[i]));
    }
    s->frame = frame;
    return PUMICE_OK;
}

static pumice_status run_for(tpl_state *s, const tpl_node *node)
{
    tpl_value iterable, items;
    tpl_frame *frame = s->frame;
    PUM_TRY(tpl_eval(s, node->b, &iterable));
    s->line = node->line;
    PUM_TRY(tpl_items(s, &iterable, &items));
    if (node->c) {
        tpl_value all = items;
        PUM_TRY(filter_items(s, node, &all, &items));
    }
    if (items.as.list->count == 0) return tpl_run(s, node->orelse);
    tpl_loop *loop = tpl_alloc(s, sizeof *loop);
    if (!loop) return tpl_fail(s, "it needs too much memory");
    loop->items = items.as.list;
    loop->depth = ++s->loop_depth;
    size_t count = items.as.list->count; /* what the body appends is not gone over */
    tpl_value v = { .type = TPL_LOOP, .as.loop = loop };
    for (size_t i = 0; i < count && !s->breaks; i++) {
        loop->index = i;
        PUM_TRY(tpl_step(s));
        PUM_TRY(push_frame(s, frame));
        PUM_TRY(tpl_put(s, &s->frame->vars, tpl_literal("loop"), v));
        PUM_TRY(assign(s, node->a, &items.as.list->items[i]));
        PUM_TRY(tpl_run(s, node->body));
        s->continues = false;
    }
    s->breaks = false;
    s->loop_depth--;
    s->frame = frame;
    return PUMICE_OK;
}

pumice_status tpl_call_macro(tpl_state *s, const tpl_macro *m, const tpl_args *args, tpl_value *out)
{
    tpl_frame *frame = s->frame;
    pum_text text = { 0 }, *before = s->out;
    size_t i = 0, loop_depth = s->loop_depth;
    if (++s->depth > MAX_DEPTH) return tpl_fail(s, "macros call each other too deeply");
    PUM_TRY(push_frame(s, m->frame));
    tpl_frame *own = s->frame;
    pumice_status status = PUMICE_OK;
    for (const tpl_node *n = m->node->first; n && status == PUMICE_OK; n = n->next, i++) {
        tpl_value v = tpl_undefined(n->name, n->name_bytes);
        const tpl_value *given = i < args->n_positional ? &args->values[i] : NULL;
        for (size_t k = args->n_positional; k < args->count && !given; k++) {
            const tpl_node *name = args->names[k];
            if (name && name->name_bytes == n->name_bytes &&
                memcmp(name->name, n->name, n->name_bytes) == 0) {
                given = &args->values[k];
            }
        }
        if (given) v = *given;
        else if (n->a) status = tpl_eval(s, n->a, &v);
        if (status == PUMICE_OK) status = set_name(s, own, n, v);
    }
    const tpl_value *caller = tpl_arg(args, SIZE_MAX, "caller");
    if (status == PUMICE_OK && caller)
        status = tpl_put(s, &own->vars, tpl_literal("caller"), *caller);
    s->out = &text;
    if (status == PUMICE_OK) status = tpl_run(s, m->node->body);
    s->out = before;
    s->frame = frame;
    s->loop_depth = loop_depth;
    s->depth--;
    if (status == PUMICE_OK) return tpl_take(s, &text, out);
    pum_text_free(&text);
    return status;
}

static pumice_status make_macro(tpl_state *s, const tpl_node *node, tpl_value *out)
{
    *out = (tpl_value){ .type = TPL_MACRO };
    out->as.macro = tpl_alloc(s, sizeof *out->as.macro);
    if (!out->as.macro) return tpl_fail(s, "it needs too much memory");
    *out->as.macro = (tpl_macro){ node, s->frame };
    return PUMICE_OK;
}

static pumice_status run_call_block(tpl_state *s, const tpl_node *node)
{
    tpl_value callee, body, out;
    tpl_args args;
    tpl_node *name = tpl_alloc(s, sizeof *name);
    if (!name) return tpl_fail(s, "it needs too much memory");
    *name = (tpl_node){ .name = "caller", .name_bytes = 6 };
    PUM_TRY(tpl_eval(s, node->a->a, &callee));
    PUM_TRY(eval_args(s, node->a->first, &args));
    PUM_TRY(make_macro(s, node, &body)); /* eval_args leaves room for one more */
    args.values[args.count] = body;
    args.names[args.count++] = name;
    PUM_TRY(tpl_call(s, &callee, &args, &out));
    return add_output(s, &out);
}

static pumice_status run_set_block(tpl_state *s, const tpl_node *node)
{
    tpl_value text, v;
    PUM_TRY(capture(s, node->body, &text));
    PUM_TRY(eval_filter(s, node->b, &text, &v));
    return assign(s, node->a, &v);
}

static pumice_status run_filter_block(tpl_state *s, const tpl_node *node)
{
    tpl_value text, v;
    PUM_TRY(capture(s, node->body, &text));
    PUM_TRY(eval_filter(s, node->a, &text, &v));
    return add_output(s, &v);
}

static pumice_status run_node(tpl_state *s, const tpl_node *node)
{
    tpl_value v;
    switch (node->kind) {
    case TPL_N_DATA:
        return add_output(s, &node->value);
    case TPL_N_OUTPUT:
        PUM_TRY(tpl_eval(s, node->a, &v));
        return add_output(s, &v);
    case TPL_N_IF:
        PUM_TRY(tpl_eval(s, node->a, &v));
        return tpl_run(s, tpl_truth(&v) ? node->body : node->orelse);
    case TPL_N_FOR:
        return run_for(s, node);
    case TPL_N_SET:
        PUM_TRY(tpl_eval(s, node->b, &v));
        s->line = node->line;
        return assign(s, node->a, &v);
    case TPL_N_SET_BLOCK:
        return run_set_block(s, node);
    case TPL_N_FILTER_BLOCK:
        return run_filter_block(s, node);
    case TPL_N_MACRO:
        PUM_TRY(make_macro(s, node, &v));
        return set_name(s, s->frame, node, v);
    case TPL_N_CALL_BLOCK:
        return run_call_block(s, node);
    case TPL_N_BODY:
        return tpl_run(s, node->first);
    case TPL_N_BREAK:
    case TPL_N_CONTINUE:
        if (!s->loop_depth) return tpl_fail(s, "break or continue stands outside of a loop");
        if (node->kind == TPL_N_BREAK) s->breaks = true;
        else s->continues = true;
        return PUMICE_OK;
    default:
        return tpl_fail(s, "a statement cannot be run");
    }
}

pumice_status tpl_run(tpl_state *s, const tpl_node *body)
{
    if (++s->depth > MAX_DEPTH) return tpl_fail(s, "it is nested too deeply");
    for (const tpl_node *n = body; n && !s->breaks && !s->continues; n = n->next) {
        PUM_TRY(tpl_step(s));
        s->line = n->line;
        PUM_TRY(run_node(s, n));
    }
    s->depth--;
    return PUMICE_OK;
}

/* ---- whole ---- */

pumice_status pum_template_parse(const char *text, size_t bytes, pum_template **out_template,
                                 pumice_error *err)
{
    *out_template = NULL;
    if (bytes > 1 << 20) {
        return pum_fail(err, PUMICE_ERROR_UNSUPPORTED,
                        "the chat template has %zu bytes; at most 1 MiB is supported", bytes);
    }
    pumice_status status = PUMICE_OK;
    tpl_tokens tokens = { 0 };
    pum_template *t = pum_alloc(sizeof *t);
    if (!t) return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory for the chat template");
    PUM_GOTO(tpl_lex(text, bytes, &t->arena, &tokens, err));
    PUM_GOTO(tpl_parse(&tokens, &t->arena, &t->root, err));
    *out_template = t;
    t = NULL;
fail:
    pum_array_free(&tokens);
    pum_template_destroy(&t);
    return status;
}

void pum_template_destroy(pum_template **t)
{
    if (!t || !*t) return;
    pum_arena_free(&(*t)->arena);
    pum_free(*t);
    *t = NULL;
}

pumice_status pum_template_render(const pum_template *t, const json_t *variables, int64_t now,
                                  pum_text *out, pumice_error *err)
{
    tpl_state s = { .now = now, .out = out, .err = err, .line = 1 };
    tpl_value all;
    pumice_status status = PUMICE_OK;
    pum_text_add(out, "", 0); /* never NULL */
    PUM_GOTO(push_frame(&s, NULL));
    PUM_GOTO(tpl_from_json(&s, variables, &all));
    if (all.type != TPL_DICT) PUM_GOTO(tpl_fail(&s, "its variables are no object"));
    s.frame->vars = *all.as.dict;
    s.globals = s.frame;
    PUM_GOTO(tpl_run(&s, t->root));
fail:
    pum_arena_free(&s.arena);
    return status;
}
