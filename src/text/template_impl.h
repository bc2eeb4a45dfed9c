/* SPDX-License-Identifier: Apache-2.0
 * Inside a template: tokens (template_lex.c), the tree (template_parse.c), values
 * (template_value.c), evaluation (template_eval.c), filters and tests (template_filter.c), methods
 * and functions (template_call.c). All memory of a tree, and all of a rendering, is one arena. */
#ifndef PUM_TEMPLATE_IMPL_H
#define PUM_TEMPLATE_IMPL_H

#include "template.h"

/* ---- tokens ---- */

typedef enum tpl_token_kind {
    TPL_DATA, TPL_OPEN_VAR, TPL_CLOSE_VAR, TPL_OPEN_BLOCK, TPL_CLOSE_BLOCK,
    TPL_NAME, TPL_STRING, TPL_INT, TPL_FLOAT, TPL_OP, TPL_END
} tpl_token_kind;

typedef struct tpl_token {
    tpl_token_kind kind;
    uint32_t line;
    const char *text; /* DATA, NAME, STRING (unescaped), OP */
    size_t bytes;
    int64_t integer;
    double real;
} tpl_token;
typedef PUM_ARRAY(tpl_token) tpl_tokens;

pumice_status tpl_lex(const char *text, size_t bytes, pum_arena *arena, tpl_tokens *out,
                      pumice_error *err);

/* ---- values ---- */

typedef enum tpl_type {
    TPL_UNDEFINED, TPL_NONE, TPL_BOOL, TPL_INTEGER, TPL_REAL, TPL_TEXT, TPL_LIST, TPL_DICT,
    TPL_SPACE, /* a namespace: a dict whose members templates may set */
    TPL_LOOP, TPL_MACRO, TPL_FUNCTION, TPL_METHOD
} tpl_type;

typedef struct tpl_value tpl_value;
typedef struct tpl_list tpl_list;
typedef struct tpl_dict tpl_dict;
typedef struct tpl_node tpl_node;
typedef struct tpl_loop tpl_loop;
typedef struct tpl_macro tpl_macro;
typedef struct tpl_method tpl_method;

struct tpl_value {
    tpl_type type;
    bool tuple; /* LIST */
    union {
        bool flag;
        int64_t integer;
        double real;
        struct {
            const char *s;
            size_t n;
        } text;         /* also UNDEFINED: the name that has no value */
        tpl_list *list;
        tpl_dict *dict; /* and SPACE */
        tpl_loop *loop;
        tpl_macro *macro;
        int function;
        tpl_method *method;
    } as;
};

struct tpl_list {
    tpl_value *items;
    size_t count, capacity;
};

struct tpl_dict { /* in the order of insertion */
    tpl_value *keys, *values;
    size_t count, capacity;
};

struct tpl_loop {
    tpl_list *items;
    size_t index, depth;
};

typedef struct tpl_frame tpl_frame;
struct tpl_frame {
    tpl_frame *parent;
    tpl_dict vars;
};

struct tpl_macro {
    const tpl_node *node;
    tpl_frame *frame; /* where it was defined */
};

struct tpl_method {
    tpl_value object;
    const char *name;
    size_t bytes;
};

/* ---- the tree ---- */

typedef enum tpl_kind {
    /* statements */
    TPL_N_DATA, TPL_N_OUTPUT, TPL_N_IF, TPL_N_FOR, TPL_N_SET, TPL_N_SET_BLOCK, TPL_N_MACRO,
    TPL_N_FILTER_BLOCK, TPL_N_BODY, TPL_N_BREAK, TPL_N_CONTINUE, TPL_N_CALL_BLOCK,
    /* expressions */
    TPL_N_CONST, TPL_N_NAME, TPL_N_LIST, TPL_N_DICT, TPL_N_ATTR, TPL_N_ITEM, TPL_N_SLICE,
    TPL_N_CALL, TPL_N_FILTER, TPL_N_TEST, TPL_N_NOT, TPL_N_NEGATE, TPL_N_POSITIVE, TPL_N_BINARY,
    TPL_N_COMPARE, TPL_N_AND, TPL_N_OR, TPL_N_CHOOSE
} tpl_kind;

typedef enum tpl_op {
    TPL_ADD, TPL_SUB, TPL_MUL, TPL_DIV, TPL_FLOOR_DIV, TPL_MOD, TPL_POW, TPL_CONCAT,
    TPL_EQ, TPL_NE, TPL_LT, TPL_LE, TPL_GT, TPL_GE, TPL_IN, TPL_NOT_IN
} tpl_op;

struct tpl_node {
    tpl_kind kind;
    uint32_t line;
    tpl_op op;
    bool negated;   /* TEST */
    bool tuple;     /* LIST */
    const char *name; /* NAME, ATTR, FILTER, TEST, MACRO, keyword arguments */
    size_t name_bytes;
    tpl_value value;          /* CONST, DATA */
    const tpl_node *a, *b, *c; /* operands; IF: test, body, else; FOR: targets, iterable, filter */
    const tpl_node *body, *orelse;
    const tpl_node *first; /* members of a list, arguments, statements of a body */
    const tpl_node *next;  /* the next sibling */
    /* A sibling in an argument list or dict: */
    const tpl_node *key; /* dict: the key; keyword argument: name is set */
};

typedef struct tpl_list_end { /* appends siblings */
    const tpl_node *first;
    tpl_node *last;
} tpl_list_end;

struct pum_template {
    pum_arena arena;
    const tpl_node *root;
};

pumice_status tpl_parse(const tpl_tokens *tokens, pum_arena *arena, const tpl_node **out_root,
                        pumice_error *err);

/* ---- rendering ---- */

typedef struct tpl_state {
    pum_arena arena;
    size_t arena_bytes;
    uint64_t steps;
    uint32_t depth;
    uint32_t line; /* of the node in work */
    int64_t now;
    tpl_frame *globals, *frame;
    pum_text *out;
    bool breaks, continues;
    size_t loop_depth;
    pumice_error *err;
} tpl_state;

typedef struct tpl_args {
    tpl_value *values; /* positional first */
    const tpl_node **names; /* by value: the keyword's node, NULL = positional */
    size_t count, n_positional;
} tpl_args;

/* Fails with the line. */
pumice_status tpl_fail(tpl_state *s, const char *fmt, ...) PUM_PRINTF(2, 3);
/* Memory of the rendering, bounded; NULL after a failure was noted. */
void *tpl_alloc(tpl_state *s, size_t bytes);
pumice_status tpl_step(tpl_state *s);

pumice_status tpl_eval(tpl_state *s, const tpl_node *node, tpl_value *out);
pumice_status tpl_run(tpl_state *s, const tpl_node *body);
pumice_status tpl_call_macro(tpl_state *s, const tpl_macro *m, const tpl_args *args,
                             tpl_value *out);

/* template_value.c */
tpl_value tpl_none(void);
tpl_value tpl_bool(bool flag);
tpl_value tpl_int(int64_t integer);
tpl_value tpl_real(double real);
tpl_value tpl_literal(const char *text);
tpl_value tpl_undefined(const char *name, size_t bytes);
pumice_status tpl_text(tpl_state *s, const char *bytes, size_t count, tpl_value *out);
/* Takes a text's bytes into the arena and frees it. */
pumice_status tpl_take(tpl_state *s, pum_text *text, tpl_value *out);
pumice_status tpl_new_list(tpl_state *s, tpl_value *out);
pumice_status tpl_push(tpl_state *s, tpl_list *list, tpl_value v);
pumice_status tpl_new_dict(tpl_state *s, tpl_value *out);
pumice_status tpl_put(tpl_state *s, tpl_dict *dict, tpl_value key, tpl_value v);
const tpl_value *tpl_get(const tpl_dict *dict, const char *key, size_t bytes);
const tpl_value *tpl_get_value(const tpl_dict *dict, const tpl_value *key);
bool tpl_truth(const tpl_value *v);
bool tpl_equal(const tpl_value *a, const tpl_value *b);
/* -1, 0, 1 into *out; fails for values that have no order. */
pumice_status tpl_order(tpl_state *s, const tpl_value *a, const tpl_value *b, int *out);
bool tpl_is(const tpl_value *v, const char *text);
const char *tpl_type_name(const tpl_value *v);
/* What printing shows: Python's str(); with `repr` Python's repr(). */
pumice_status tpl_print(tpl_state *s, const tpl_value *v, bool repr, pum_text *out);
pumice_status tpl_string_of(tpl_state *s, const tpl_value *v, tpl_value *out);
typedef struct tpl_json_style {
    int indent; /* -1 = one line */
    bool ascii, sorted;
    const char *comma, *colon;
} tpl_json_style;
pumice_status tpl_json(tpl_state *s, const tpl_value *v, const tpl_json_style *style, int level,
                       pum_text *out);
pumice_status tpl_from_json(tpl_state *s, const json_t *json, tpl_value *out);
size_t tpl_chars(const char *s, size_t bytes);             /* characters */
size_t tpl_char_at(const char *s, size_t bytes, size_t i); /* byte offset of character i */
/* Items of what a for loop runs over: lists, dict keys, characters. */
pumice_status tpl_items(tpl_state *s, const tpl_value *v, tpl_value *out_list);
pumice_status tpl_contains(tpl_state *s, const tpl_value *box, const tpl_value *item, bool *out);

/* template_call.c */
pumice_status tpl_attr(tpl_state *s, const tpl_value *object, const char *name, size_t bytes,
                       bool item_first, tpl_value *out);
pumice_status tpl_call(tpl_state *s, const tpl_value *callee, const tpl_args *args, tpl_value *out);
bool tpl_find_function(const char *name, size_t bytes, tpl_value *out);
/* An argument by place or name; NULL if absent. */
const tpl_value *tpl_arg(const tpl_args *args, size_t index, const char *name);

/* template_filter.c */
pumice_status tpl_filter(tpl_state *s, const char *name, size_t bytes, const tpl_value *v,
                         const tpl_args *args, tpl_value *out);
pumice_status tpl_test(tpl_state *s, const char *name, size_t bytes, const tpl_value *v,
                       const tpl_args *args, bool *out);
/* template_text.c: strings */
pumice_status tpl_strip(tpl_state *s, const tpl_value *v, const tpl_value *chars, bool left,
                        bool right, tpl_value *out);
pumice_status tpl_case(tpl_state *s, const tpl_value *v, char mode, tpl_value *out);
pumice_status tpl_replace(tpl_state *s, const tpl_value *v, const tpl_value *from,
                          const tpl_value *to, int64_t limit, tpl_value *out);
pumice_status tpl_split(tpl_state *s, const tpl_value *v, const tpl_value *sep, int64_t limit,
                        tpl_value *out);
pumice_status tpl_join(tpl_state *s, const tpl_value *list, const tpl_value *sep, tpl_value *out);
pumice_status tpl_strftime(tpl_state *s, const tpl_value *format, tpl_value *out);
pumice_status tpl_format(tpl_state *s, const tpl_value *format, const tpl_value *args,
                         tpl_value *out);

static inline bool tpl_named(const char *name, size_t bytes, const char *want)
{
    size_t i = 0;
    while (i < bytes && want[i] && want[i] == name[i]) i++;
    return i == bytes && !want[i];
}

#endif
