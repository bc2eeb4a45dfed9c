/* SPDX-License-Identifier: Apache-2.0
 * Tokens to a tree, by recursive descent with Jinja's precedence. Depth is bounded. */
#include "template_impl.h"

#include <string.h>

enum { MAX_DEPTH = 150 };

typedef struct parser {
    const tpl_token *t;
    size_t at;
    uint32_t depth;
    pum_arena *arena;
    pumice_error *err;
} parser;

static pumice_status expression(parser *p, const tpl_node **out);
static pumice_status unary(parser *p, bool with_filters, const tpl_node **out);
static pumice_status body(parser *p, const char *const *ends, const tpl_node **out);

static const tpl_token *peek(const parser *p) { return &p->t[p->at]; }

static pumice_status bad(parser *p, const char *what)
{
    const tpl_token *t = peek(p);
    if (t->kind == TPL_NAME || t->kind == TPL_OP) {
        return pum_fail(p->err, PUMICE_ERROR_FORMAT, "chat template, line %u: %s at '%.*s'", t->line,
                        what, (int)PUM_MIN(t->bytes, (size_t)40), t->text);
    }
    return pum_fail(p->err, PUMICE_ERROR_FORMAT, "chat template, line %u: %s", t->line, what);
}

static bool is_op(const parser *p, const char *op)
{
    const tpl_token *t = peek(p);
    return t->kind == TPL_OP && tpl_named(t->text, t->bytes, op);
}

static bool is_word(const parser *p, const char *word)
{
    const tpl_token *t = peek(p);
    return t->kind == TPL_NAME && tpl_named(t->text, t->bytes, word);
}

static bool take_op(parser *p, const char *op)
{
    bool hit = is_op(p, op);
    p->at += hit;
    return hit;
}

static bool take_word(parser *p, const char *word)
{
    bool hit = is_word(p, word);
    p->at += hit;
    return hit;
}

static pumice_status need_op(parser *p, const char *op)
{
    char text[32];
    if (take_op(p, op)) return PUMICE_OK;
    text[0] = '\0';
    strcat(strcpy(text, op), " was expected");
    return bad(p, text);
}

static pumice_status make(parser *p, tpl_kind kind, tpl_node **out)
{
    *out = pum_arena_alloc(p->arena, sizeof **out);
    if (!*out)
        return pum_fail(p->err, PUMICE_ERROR_HOST_MEMORY, "no memory for the chat template");
    (*out)->kind = kind;
    (*out)->line = peek(p)->line;
    return PUMICE_OK;
}

static void append(tpl_list_end *list, tpl_node *node)
{
    if (list->last) list->last->next = node;
    else list->first = node;
    list->last = node;
}

/* A node that stands for another in a list, so that its `next` is its own. */
static pumice_status wrap(parser *p, const tpl_node *inner, tpl_list_end *list, tpl_node **out)
{
    PUM_TRY(make(p, TPL_N_BODY, out));
    (*out)->a = inner;
    append(list, *out);
    return PUMICE_OK;
}

static pumice_status take_name(parser *p, tpl_node *node)
{
    const tpl_token *t = peek(p);
    if (t->kind != TPL_NAME) return bad(p, "a name was expected");
    node->name = t->text;
    node->name_bytes = t->bytes;
    p->at++;
    return PUMICE_OK;
}

/* ---- expressions ---- */

static pumice_status arguments(parser *p, const tpl_node **out)
{
    tpl_list_end list = { 0 };
    bool named = false;
    while (!is_op(p, ")")) {
        const tpl_token *t = peek(p);
        bool keyword = t->kind == TPL_NAME && t[1].kind == TPL_OP && t[1].bytes == 1 &&
                       t[1].text[0] == '=';
        const tpl_node *value;
        tpl_node *item;
        if (is_op(p, "*") || is_op(p, "**")) return bad(p, "unpacked arguments are not supported");
        if (!keyword && named) return bad(p, "an argument without a name follows one with a name");
        if (keyword) p->at += 2;
        named = named || keyword;
        PUM_TRY(expression(p, &value));
        PUM_TRY(wrap(p, value, &list, &item));
        if (keyword) {
            item->name = t->text;
            item->name_bytes = t->bytes;
        }
        if (!take_op(p, ",")) break;
    }
    *out = list.first;
    return need_op(p, ")");
}

static pumice_status list_until(parser *p, const char *end, const tpl_node *first, bool tuple,
                                const tpl_node **out)
{
    tpl_list_end list = { 0 };
    tpl_node *node, *item;
    PUM_TRY(make(p, TPL_N_LIST, &node));
    if (first) PUM_TRY(wrap(p, first, &list, &item));
    while (!is_op(p, end)) {
        const tpl_node *value;
        PUM_TRY(expression(p, &value));
        PUM_TRY(wrap(p, value, &list, &item));
        if (!take_op(p, ",")) break;
    }
    node->first = list.first;
    node->tuple = tuple;
    *out = node;
    return need_op(p, end);
}

static pumice_status dict(parser *p, const tpl_node **out)
{
    tpl_list_end list = { 0 };
    tpl_node *node, *item;
    PUM_TRY(make(p, TPL_N_DICT, &node));
    while (!is_op(p, "}")) {
        const tpl_node *key, *value;
        PUM_TRY(expression(p, &key));
        PUM_TRY(need_op(p, ":"));
        PUM_TRY(expression(p, &value));
        PUM_TRY(wrap(p, value, &list, &item));
        item->key = key;
        if (!take_op(p, ",")) break;
    }
    node->first = list.first;
    *out = node;
    return need_op(p, "}");
}

static pumice_status name_or_word(parser *p, tpl_node *node)
{
    static const struct {
        const char *word;
        tpl_type type;
        bool flag;
    } words[] = { { "true", TPL_BOOL, true },   { "True", TPL_BOOL, true },
                  { "false", TPL_BOOL, false }, { "False", TPL_BOOL, false },
                  { "none", TPL_NONE, false },  { "None", TPL_NONE, false } };
    for (size_t i = 0; i < PUM_COUNT(words); i++) {
        if (!take_word(p, words[i].word)) continue;
        node->value.type = words[i].type;
        node->value.as.flag = words[i].flag;
        return PUMICE_OK;
    }
    node->kind = TPL_N_NAME;
    return take_name(p, node);
}

static pumice_status primary(parser *p, const tpl_node **out)
{
    const tpl_token *t = peek(p);
    tpl_node *node;
    if (take_op(p, "[")) return list_until(p, "]", NULL, false, out);
    if (take_op(p, "{")) return dict(p, out);
    if (take_op(p, "(")) {
        const tpl_node *inner;
        if (take_op(p, ")")) {
            PUM_TRY(make(p, TPL_N_LIST, &node));
            node->tuple = true;
            *out = node;
            return PUMICE_OK;
        }
        PUM_TRY(expression(p, &inner));
        if (take_op(p, ",")) return list_until(p, ")", inner, true, out);
        *out = inner;
        return need_op(p, ")");
    }
    PUM_TRY(make(p, TPL_N_CONST, &node));
    *out = node;
    switch (t->kind) {
    case TPL_NAME:
        return name_or_word(p, node);
    case TPL_INT:
        node->value = tpl_int(t->integer);
        break;
    case TPL_FLOAT:
        node->value = tpl_real(t->real);
        break;
    case TPL_STRING: {
        pum_text all = { 0 }; /* neighbouring strings are one */
        for (; peek(p)->kind == TPL_STRING; p->at++)
            pum_text_add(&all, peek(p)->text, peek(p)->bytes);
        char *copy = all.failed ? NULL : pum_arena_alloc(p->arena, all.count + 1);
        if (copy && all.count) memcpy(copy, all.data, all.count);
        node->value = (tpl_value){ .type = TPL_TEXT, .as.text = { copy, all.count } };
        pum_text_free(&all);
        return copy ? PUMICE_OK
                    : pum_fail(p->err, PUMICE_ERROR_HOST_MEMORY, "no memory for the chat template");
    }
    default:
        return bad(p, "a value was expected");
    }
    p->at++;
    return PUMICE_OK;
}

/* [i], or [a:b:c]. */
static pumice_status subscript(parser *p, tpl_node *node)
{
    const tpl_node **part[] = { &node->b, &node->c, &node->body };
    size_t n = 0;
    node->kind = TPL_N_ITEM;
    for (;; n++) {
        if (!is_op(p, ":") && !is_op(p, "]")) PUM_TRY(expression(p, part[n]));
        if (n == 2 || !take_op(p, ":")) break;
        node->kind = TPL_N_SLICE;
    }
    if (node->kind == TPL_N_ITEM && !node->b) return bad(p, "an index was expected");
    return need_op(p, "]");
}

static pumice_status postfix(parser *p, const tpl_node **inout)
{
    for (;;) {
        tpl_node *node;
        if (!is_op(p, ".") && !is_op(p, "[") && !is_op(p, "(")) return PUMICE_OK;
        PUM_TRY(make(p, TPL_N_ATTR, &node));
        node->a = *inout;
        *inout = node;
        if (take_op(p, ".")) {
            const tpl_token *t = peek(p);
            if (t->kind == TPL_INT) {
                node->kind = TPL_N_ITEM;
                PUM_TRY(primary(p, &node->b));
            } else {
                PUM_TRY(take_name(p, node));
            }
        } else if (take_op(p, "[")) {
            PUM_TRY(subscript(p, node));
        } else {
            p->at++;
            node->kind = TPL_N_CALL;
            PUM_TRY(arguments(p, &node->first));
        }
    }
}

/* Does a test take what follows as its argument, without parentheses? */
static bool begins_argument(const parser *p)
{
    static const char *const no[] = { "else", "or", "and", "if", "in", "is", "not" };
    const tpl_token *t = peek(p);
    for (size_t i = 0; i < PUM_COUNT(no); i++) {
        if (is_word(p, no[i])) return false;
    }
    return t->kind == TPL_NAME || t->kind == TPL_STRING || t->kind == TPL_INT ||
           t->kind == TPL_FLOAT || is_op(p, "[") || is_op(p, "{");
}

static pumice_status filters(parser *p, const tpl_node **inout)
{
    for (;;) {
        tpl_node *node, *item;
        tpl_list_end list = { 0 };
        bool filter = is_op(p, "|");
        if (!filter && !is_word(p, "is")) return PUMICE_OK;
        p->at++;
        PUM_TRY(make(p, filter ? TPL_N_FILTER : TPL_N_TEST, &node));
        node->a = *inout;
        *inout = node;
        node->negated = !filter && take_word(p, "not");
        PUM_TRY(take_name(p, node));
        if (take_op(p, "(")) {
            PUM_TRY(arguments(p, &node->first));
        } else if (!filter && begins_argument(p)) {
            const tpl_node *value;
            PUM_TRY(primary(p, &value));
            PUM_TRY(postfix(p, &value));
            PUM_TRY(wrap(p, value, &list, &item));
            node->first = list.first;
        }
    }
}

static pumice_status unary(parser *p, bool with_filters, const tpl_node **out)
{
    tpl_node *node;
    if (++p->depth > MAX_DEPTH) return bad(p, "it is nested too deeply");
    if (is_op(p, "-") || is_op(p, "+")) {
        PUM_TRY(make(p, is_op(p, "-") ? TPL_N_NEGATE : TPL_N_POSITIVE, &node));
        p->at++;
        PUM_TRY(unary(p, false, &node->a));
        *out = node;
    } else {
        PUM_TRY(primary(p, out));
    }
    PUM_TRY(postfix(p, out));
    if (with_filters) PUM_TRY(filters(p, out));
    p->depth--;
    return PUMICE_OK;
}

/* Binary operators from the loosest to the tightest. */
static const struct {
    const char *op;
    uint32_t level;
    tpl_op code;
} binary_ops[] = { { "+", 0, TPL_ADD }, { "-", 0, TPL_SUB },       { "~", 1, TPL_CONCAT },
                   { "*", 2, TPL_MUL }, { "/", 2, TPL_DIV },       { "//", 2, TPL_FLOOR_DIV },
                   { "%", 2, TPL_MOD }, { "**", 3, TPL_POW } };

static pumice_status binary(parser *p, uint32_t level, const tpl_node **out)
{
    if (level == 4) return unary(p, true, out);
    PUM_TRY(binary(p, level + 1, out));
    for (size_t i = 0; i < PUM_COUNT(binary_ops);) {
        tpl_node *node;
        if (binary_ops[i].level != level || !is_op(p, binary_ops[i].op)) {
            i++;
            continue;
        }
        PUM_TRY(make(p, TPL_N_BINARY, &node));
        p->at++;
        node->op = binary_ops[i].code;
        node->a = *out;
        PUM_TRY(binary(p, level + 1, &node->b));
        *out = node;
        i = 0;
    }
    return PUMICE_OK;
}

static bool take_comparison(parser *p, tpl_op *out)
{
    static const struct {
        const char *op;
        tpl_op code;
    } ops[] = { { "==", TPL_EQ }, { "!=", TPL_NE }, { "<=", TPL_LE },
                { ">=", TPL_GE }, { "<", TPL_LT },  { ">", TPL_GT } };
    for (size_t i = 0; i < PUM_COUNT(ops); i++) {
        *out = ops[i].code;
        if (take_op(p, ops[i].op)) return true;
    }
    *out = TPL_IN;
    if (take_word(p, "in")) return true;
    *out = TPL_NOT_IN;
    if (!is_word(p, "not") || p->t[p->at + 1].kind != TPL_NAME ||
        !tpl_named(p->t[p->at + 1].text, p->t[p->at + 1].bytes, "in")) {
        return false;
    }
    p->at += 2;
    return true;
}

/* a < b < c: the first operand, then siblings with their operators. */
static pumice_status comparison(parser *p, const tpl_node **out)
{
    tpl_op op;
    tpl_list_end list = { 0 };
    tpl_node *node = NULL, *item;
    PUM_TRY(binary(p, 0, out));
    while (take_comparison(p, &op)) {
        const tpl_node *right;
        if (!node) {
            PUM_TRY(make(p, TPL_N_COMPARE, &node));
            node->a = *out;
            *out = node;
        }
        PUM_TRY(binary(p, 0, &right));
        PUM_TRY(wrap(p, right, &list, &item));
        item->op = op;
        node->first = list.first;
    }
    return PUMICE_OK;
}

static pumice_status negation(parser *p, const tpl_node **out)
{
    tpl_node *node;
    if (!is_word(p, "not")) return comparison(p, out);
    if (++p->depth > MAX_DEPTH) return bad(p, "it is nested too deeply");
    PUM_TRY(make(p, TPL_N_NOT, &node));
    p->at++;
    PUM_TRY(negation(p, &node->a));
    p->depth--;
    *out = node;
    return PUMICE_OK;
}

static pumice_status logic(parser *p, bool is_or, const tpl_node **out)
{
    PUM_TRY(is_or ? logic(p, false, out) : negation(p, out));
    while (take_word(p, is_or ? "or" : "and")) {
        tpl_node *node;
        PUM_TRY(make(p, is_or ? TPL_N_OR : TPL_N_AND, &node));
        node->a = *out;
        PUM_TRY(is_or ? logic(p, false, &node->b) : negation(p, &node->b));
        *out = node;
    }
    return PUMICE_OK;
}

static pumice_status expression(parser *p, const tpl_node **out)
{
    if (++p->depth > MAX_DEPTH) return bad(p, "it is nested too deeply");
    PUM_TRY(logic(p, true, out));
    while (take_word(p, "if")) { /* a if b else c */
        tpl_node *node;
        PUM_TRY(make(p, TPL_N_CHOOSE, &node));
        node->b = *out;
        PUM_TRY(logic(p, true, &node->a));
        if (take_word(p, "else")) PUM_TRY(expression(p, &node->c));
        *out = node;
    }
    p->depth--;
    return PUMICE_OK;
}

/* An expression, or several with commas between them: then a tuple. */
static pumice_status tuple(parser *p, const tpl_node **out)
{
    tpl_list_end list = { 0 };
    tpl_node *node, *item;
    PUM_TRY(expression(p, out));
    if (!is_op(p, ",")) return PUMICE_OK;
    PUM_TRY(make(p, TPL_N_LIST, &node));
    node->tuple = true;
    PUM_TRY(wrap(p, *out, &list, &item));
    while (take_op(p, ",")) {
        const tpl_node *value;
        if (peek(p)->kind == TPL_CLOSE_BLOCK || peek(p)->kind == TPL_CLOSE_VAR) break;
        PUM_TRY(expression(p, &value));
        PUM_TRY(wrap(p, value, &list, &item));
    }
    node->first = list.first;
    *out = node;
    return PUMICE_OK;
}

/* ---- statements ---- */

static pumice_status close_block(parser *p)
{
    if (peek(p)->kind != TPL_CLOSE_BLOCK) return bad(p, "%} was expected");
    p->at++;
    return PUMICE_OK;
}

/* Names to be set: one, or several with commas, in parentheses or not; `ns.attr` for set. */
static pumice_status targets(parser *p, const tpl_node **out)
{
    tpl_list_end list = { 0 };
    bool parentheses = take_op(p, "(");
    do {
        tpl_node *node;
        PUM_TRY(make(p, TPL_N_NAME, &node));
        PUM_TRY(take_name(p, node));
        if (take_op(p, ".")) {
            tpl_node *owner = node;
            PUM_TRY(make(p, TPL_N_ATTR, &node));
            PUM_TRY(take_name(p, node));
            node->a = owner;
        }
        append(&list, node);
    } while (take_op(p, ",") && !is_word(p, "in") && !is_op(p, "="));
    *out = list.first;
    return parentheses ? need_op(p, ")") : PUMICE_OK;
}

static pumice_status if_statement(parser *p, tpl_node *node)
{
    static const char *const ends[] = { "elif", "else", "endif", NULL };
    PUM_TRY(tuple(p, &node->a));
    PUM_TRY(close_block(p));
    PUM_TRY(body(p, ends, &node->body));
    if (take_word(p, "elif")) {
        tpl_node *next;
        if (++p->depth > MAX_DEPTH) return bad(p, "it is nested too deeply");
        PUM_TRY(make(p, TPL_N_IF, &next));
        node->orelse = next;
        PUM_TRY(if_statement(p, next));
        p->depth--;
        return PUMICE_OK;
    }
    if (take_word(p, "else")) {
        PUM_TRY(close_block(p));
        PUM_TRY(body(p, ends + 2, &node->orelse));
    }
    p->at++; /* endif */
    return close_block(p);
}

static pumice_status for_statement(parser *p, tpl_node *node)
{
    static const char *const ends[] = { "else", "endfor", NULL };
    PUM_TRY(targets(p, &node->a));
    if (!take_word(p, "in")) return bad(p, "'in' was expected");
    /* not a whole expression: "if" filters the loop */
    PUM_TRY(logic(p, true, &node->b));
    if (is_op(p, ",")) return bad(p, "a loop over a tuple needs parentheses");
    if (take_word(p, "if")) PUM_TRY(expression(p, &node->c));
    if (take_word(p, "recursive")) return bad(p, "recursive loops are not supported");
    PUM_TRY(close_block(p));
    PUM_TRY(body(p, ends, &node->body));
    if (take_word(p, "else")) {
        PUM_TRY(close_block(p));
        PUM_TRY(body(p, ends + 1, &node->orelse));
    }
    p->at++; /* endfor */
    return close_block(p);
}

static pumice_status set_statement(parser *p, tpl_node *node)
{
    static const char *const ends[] = { "endset", NULL };
    PUM_TRY(targets(p, &node->a));
    if (take_op(p, "=")) {
        PUM_TRY(tuple(p, &node->b));
        return close_block(p);
    }
    node->kind = TPL_N_SET_BLOCK;
    if (is_op(p, "|")) { /* the filters apply to the text: a chain that begins at a NULL operand */
        const tpl_node *none = NULL;
        PUM_TRY(filters(p, &none));
        node->b = none;
    }
    PUM_TRY(close_block(p));
    PUM_TRY(body(p, ends, &node->body));
    p->at++;
    return close_block(p);
}

static pumice_status macro_statement(parser *p, tpl_node *node)
{
    static const char *const ends[] = { "endmacro", NULL };
    tpl_list_end list = { 0 };
    PUM_TRY(take_name(p, node));
    PUM_TRY(need_op(p, "("));
    while (!is_op(p, ")")) {
        tpl_node *item;
        PUM_TRY(make(p, TPL_N_NAME, &item));
        PUM_TRY(take_name(p, item));
        if (take_op(p, "=")) PUM_TRY(expression(p, &item->a));
        append(&list, item);
        if (!take_op(p, ",")) break;
    }
    node->first = list.first;
    PUM_TRY(need_op(p, ")"));
    PUM_TRY(close_block(p));
    PUM_TRY(body(p, ends, &node->body));
    p->at++;
    return close_block(p);
}

/* {% call name(args) %}body{% endcall %}: the body is what caller() gives. */
static pumice_status call_statement(parser *p, tpl_node *node)
{
    static const char *const ends[] = { "endcall", NULL };
    PUM_TRY(expression(p, &node->a));
    if (node->a->kind != TPL_N_CALL) return bad(p, "a call was expected");
    PUM_TRY(close_block(p));
    PUM_TRY(body(p, ends, &node->body));
    p->at++;
    return close_block(p);
}

static pumice_status filter_statement(parser *p, tpl_node *node)
{
    static const char *const ends[] = { "endfilter", NULL };
    const tpl_node *chain = NULL;
    tpl_node *first;
    PUM_TRY(make(p, TPL_N_FILTER, &first));
    PUM_TRY(take_name(p, first));
    if (take_op(p, "(")) PUM_TRY(arguments(p, &first->first));
    chain = first;
    PUM_TRY(filters(p, &chain));
    node->a = chain;
    PUM_TRY(close_block(p));
    PUM_TRY(body(p, ends, &node->body));
    p->at++;
    return close_block(p);
}

/* {% generation %}: only marks what is the assistant's. */
static pumice_status generation_statement(parser *p, tpl_node *node)
{
    static const char *const ends[] = { "endgeneration", NULL };
    PUM_TRY(close_block(p));
    PUM_TRY(body(p, ends, &node->first));
    p->at++;
    return close_block(p);
}

static pumice_status plain_statement(parser *p, tpl_node *node)
{
    (void)node;
    return close_block(p);
}

static const struct {
    const char *word;
    tpl_kind kind;
    pumice_status (*parse)(parser *p, tpl_node *node);
} statements[] = { { "if", TPL_N_IF, if_statement },
                   { "for", TPL_N_FOR, for_statement },
                   { "set", TPL_N_SET, set_statement },
                   { "macro", TPL_N_MACRO, macro_statement },
                   { "call", TPL_N_CALL_BLOCK, call_statement },
                   { "filter", TPL_N_FILTER_BLOCK, filter_statement },
                   { "generation", TPL_N_BODY, generation_statement },
                   { "break", TPL_N_BREAK, plain_statement },
                   { "continue", TPL_N_CONTINUE, plain_statement } };

static pumice_status statement(parser *p, tpl_list_end *list)
{
    tpl_node *node;
    for (size_t i = 0; i < PUM_COUNT(statements); i++) {
        if (!is_word(p, statements[i].word)) continue;
        if (++p->depth > MAX_DEPTH) return bad(p, "it is nested too deeply");
        PUM_TRY(make(p, statements[i].kind, &node));
        p->at++;
        PUM_TRY(statements[i].parse(p, node));
        p->depth--;
        append(list, node);
        return PUMICE_OK;
    }
    return bad(p, "no such statement is supported");
}

/* Statements until a block that begins with one of `ends` (left before that word), or the end of
 * the template if ends is NULL. */
static pumice_status body(parser *p, const char *const *ends, const tpl_node **out)
{
    tpl_list_end list = { 0 };
    tpl_node *node;
    for (;;) {
        const tpl_token *t = peek(p);
        if (t->kind == TPL_END) {
            if (ends) return bad(p, "a block is not closed");
            break;
        }
        if (t->kind == TPL_DATA) {
            PUM_TRY(make(p, TPL_N_DATA, &node));
            node->value = (tpl_value){ .type = TPL_TEXT, .as.text = { t->text, t->bytes } };
            p->at++;
            append(&list, node);
            continue;
        }
        p->at++;
        if (t->kind == TPL_OPEN_VAR) {
            PUM_TRY(make(p, TPL_N_OUTPUT, &node));
            PUM_TRY(tuple(p, &node->a));
            if (peek(p)->kind != TPL_CLOSE_VAR) return bad(p, "}} was expected");
            p->at++;
            append(&list, node);
            continue;
        }
        for (size_t i = 0; ends && ends[i]; i++) {
            if (is_word(p, ends[i])) {
                *out = list.first;
                return PUMICE_OK;
            }
        }
        PUM_TRY(statement(p, &list));
    }
    *out = list.first;
    return PUMICE_OK;
}

pumice_status tpl_parse(const tpl_tokens *tokens, pum_arena *arena, const tpl_node **out_root,
                        pumice_error *err)
{
    parser p = { .t = tokens->data, .arena = arena, .err = err };
    return body(&p, NULL, out_root);
}
