/* SPDX-License-Identifier: Apache-2.0
 * Attributes, methods of strings, lists and dicts, and the functions that templates may call. */
#include "template_impl.h"

#include <string.h>

const tpl_value *tpl_arg(const tpl_args *args, size_t index, const char *name)
{
    if (index < args->n_positional) return &args->values[index];
    for (size_t i = args->n_positional; i < args->count; i++) {
        const tpl_node *n = args->names[i];
        if (n && tpl_named(n->name, n->name_bytes, name)) return &args->values[i];
    }
    return NULL;
}

static int64_t int_arg(const tpl_args *args, size_t index, const char *name, int64_t if_absent)
{
    const tpl_value *v = tpl_arg(args, index, name);
    if (v && v->type == TPL_BOOL) return v->as.flag;
    return v && v->type == TPL_INTEGER ? v->as.integer : if_absent;
}

/* ---- loop.x ---- */

static pumice_status loop_attr(const tpl_loop *loop, const char *name, size_t bytes, tpl_value *out)
{
    size_t i = loop->index, n = loop->items->count;
    if (tpl_named(name, bytes, "index")) *out = tpl_int((int64_t)i + 1);
    else if (tpl_named(name, bytes, "index0")) *out = tpl_int((int64_t)i);
    else if (tpl_named(name, bytes, "revindex")) *out = tpl_int((int64_t)(n - i));
    else if (tpl_named(name, bytes, "revindex0")) *out = tpl_int((int64_t)(n - i) - 1);
    else if (tpl_named(name, bytes, "first")) *out = tpl_bool(i == 0);
    else if (tpl_named(name, bytes, "last")) *out = tpl_bool(i + 1 == n);
    else if (tpl_named(name, bytes, "length")) *out = tpl_int((int64_t)n);
    else if (tpl_named(name, bytes, "depth")) *out = tpl_int((int64_t)loop->depth);
    else if (tpl_named(name, bytes, "depth0")) *out = tpl_int((int64_t)loop->depth - 1);
    else if (tpl_named(name, bytes, "previtem") && i > 0) *out = loop->items->items[i - 1];
    else if (tpl_named(name, bytes, "nextitem") && i + 1 < n) *out = loop->items->items[i + 1];
    return PUMICE_OK;
}

/* ---- attributes ---- */

static const char *const text_methods[] = {
    "strip", "lstrip", "rstrip", "split", "rsplit", "splitlines", "startswith", "endswith",
    "upper", "lower", "title", "capitalize", "replace", "join", "find", "rfind", "index", "count",
    "isdigit", "isalpha", "isspace", "isupper", "islower", "format", "removeprefix",
    "removesuffix", NULL
};
static const char *const list_methods[] = { "append", "extend", "insert", "pop", "index", "count",
                                            NULL };
static const char *const dict_methods[] = { "get", "items", "keys", "values", "update", "pop",
                                            "setdefault", NULL };

static bool has_method(const tpl_value *v, const char *name, size_t bytes)
{
    const char *const *list = v->type == TPL_TEXT   ? text_methods
                              : v->type == TPL_LIST ? list_methods
                              : v->type == TPL_DICT ? dict_methods
                                                    : NULL;
    for (; list && *list; list++) {
        if (tpl_named(name, bytes, *list)) return true;
    }
    return v->type == TPL_LOOP && tpl_named(name, bytes, "cycle");
}

pumice_status tpl_attr(tpl_state *s, const tpl_value *object, const char *name, size_t bytes,
                       bool item_first, tpl_value *out)
{
    *out = tpl_undefined(name, bytes);
    if (object->type == TPL_SPACE || (object->type == TPL_DICT && item_first)) {
        const tpl_value *v = tpl_get(object->as.dict, name, bytes);
        if (v) *out = *v;
        if (v || object->type == TPL_SPACE) return PUMICE_OK;
    }
    if (has_method(object, name, bytes)) {
        *out = (tpl_value){ .type = TPL_METHOD };
        out->as.method = tpl_alloc(s, sizeof *out->as.method);
        if (!out->as.method) return tpl_fail(s, "it needs too much memory");
        *out->as.method = (tpl_method){ *object, name, bytes };
        return PUMICE_OK;
    }
    if (object->type == TPL_LOOP) return loop_attr(object->as.loop, name, bytes, out);
    if (object->type != TPL_DICT) return PUMICE_OK;
    const tpl_value *v = tpl_get(object->as.dict, name, bytes);
    if (v) *out = *v;
    return PUMICE_OK;
}

/* ---- methods of strings ---- */

static bool affix(const tpl_value *v, const tpl_value *with, bool end)
{
    size_t n = v->as.text.n, m = with->as.text.n;
    if (with->type != TPL_TEXT || m > n) return false;
    return m == 0 || memcmp(v->as.text.s + (end ? n - m : 0), with->as.text.s, m) == 0;
}

static pumice_status has_affix(tpl_state *s, const tpl_value *v, const tpl_value *with, bool end,
                               tpl_value *out)
{
    bool good = false;
    if (!with || (with->type != TPL_TEXT && with->type != TPL_LIST))
        return tpl_fail(s, "startswith and endswith need a string");
    if (with->type == TPL_TEXT) good = affix(v, with, end);
    for (size_t i = 0; with->type == TPL_LIST && i < with->as.list->count && !good; i++)
        good = with->as.list->items[i].type == TPL_TEXT && affix(v, &with->as.list->items[i], end);
    *out = tpl_bool(good);
    return PUMICE_OK;
}

/* Where `what` is (in characters), -1 = nowhere; *out_count: how often, without overlap. */
static int64_t find_text(const tpl_value *v, const tpl_value *what, bool last, int64_t *out_count)
{
    int64_t found = -1;
    size_t n = v->as.text.n, m = what->as.text.n, next = 0;
    *out_count = 0;
    for (size_t i = 0; i + m <= n; i++) {
        if (m && memcmp(v->as.text.s + i, what->as.text.s, m) != 0) continue;
        if (found < 0 || last) found = (int64_t)tpl_chars(v->as.text.s, i);
        if (i < next) continue;
        ++*out_count;
        next = i + (m ? m : 1);
    }
    return found;
}

static pumice_status find_method(tpl_state *s, const tpl_value *v, const tpl_args *args, char mode,
                                 tpl_value *out)
{
    const tpl_value *what = tpl_arg(args, 0, "sub");
    int64_t count;
    if (!what || what->type != TPL_TEXT) return tpl_fail(s, "find and count need a string");
    int64_t at = find_text(v, what, mode == 'r', &count);
    if (mode == 'i' && at < 0) return tpl_fail(s, "index finds no such part of the string");
    *out = tpl_int(mode == 'c' ? count : at);
    return PUMICE_OK;
}

static pumice_status split_lines(tpl_state *s, const tpl_value *v, bool keep, tpl_value *out)
{
    const char *p = v->as.text.s;
    PUM_TRY(tpl_new_list(s, out));
    for (size_t i = 0, from = 0; i < v->as.text.n || from < v->as.text.n;) {
        size_t end = i;
        while (end < v->as.text.n && p[end] != '\n' && p[end] != '\r') end++;
        size_t next = end + (end < v->as.text.n);
        if (end + 1 < v->as.text.n && p[end] == '\r' && p[end + 1] == '\n') next++;
        tpl_value line = { .type = TPL_TEXT, .as.text = { p + from, (keep ? next : end) - from } };
        PUM_TRY(tpl_push(s, out->as.list, line));
        from = i = next;
    }
    return PUMICE_OK;
}

/* Cuts from the right: split at all places, then join the first parts again. */
static pumice_status split_right(tpl_state *s, const tpl_value *v, const tpl_value *sep,
                                 int64_t limit, tpl_value *out)
{
    PUM_TRY(tpl_split(s, v, sep, -1, out));
    tpl_list *all = out->as.list;
    if (limit < 0 || (size_t)limit >= all->count) return PUMICE_OK;
    size_t first = all->count - (size_t)limit;
    const tpl_value *end = &all->items[first - 1];
    tpl_value head = { .type = TPL_TEXT };
    head.as.text.s = v->as.text.s;
    head.as.text.n = (size_t)(end->as.text.s + end->as.text.n - v->as.text.s);
    PUM_TRY(tpl_new_list(s, out));
    PUM_TRY(tpl_push(s, out->as.list, head));
    for (size_t i = first; i < all->count; i++)
        PUM_TRY(tpl_push(s, out->as.list, all->items[i]));
    return PUMICE_OK;
}

static bool all_chars(const tpl_value *v, const char *kind)
{
    bool any = false;
    for (size_t i = 0; i < v->as.text.n; i++) {
        char c = v->as.text.s[i];
        bool upper = c >= 'A' && c <= 'Z', lower = c >= 'a' && c <= 'z';
        bool cased = kind[2] == 'u' || kind[2] == 'l';
        bool good = kind[2] == 'd'   ? c >= '0' && c <= '9'
                    : kind[2] == 'a' ? upper || lower || (uint8_t)c >= 0x80
                    : kind[2] == 's' ? c == ' ' || (c >= '\t' && c <= '\r')
                    : kind[2] == 'u' ? !lower
                                     : !upper;
        if (!good) return false;
        any = any || !cased || upper || lower;
    }
    return any;
}

/* "{} and {}".format(a, b), {0}, {name}: without format specifications. */
static pumice_status format_method(tpl_state *s, const tpl_value *v, const tpl_args *args,
                                   tpl_value *out)
{
    pum_text text = { 0 };
    const char *p = v->as.text.s;
    size_t n = v->as.text.n, next = 0;
    pumice_status status = PUMICE_OK;
    for (size_t i = 0; i < n && status == PUMICE_OK; i++) {
        bool twice = i + 1 < n && p[i + 1] == p[i];
        if ((p[i] != '{' && p[i] != '}') || twice) {
            pum_text_add(&text, p + i, 1);
            i += twice && (p[i] == '{' || p[i] == '}');
            continue;
        }
        size_t end = i + 1, number = 0;
        char name[64] = { 0 };
        bool digits = true;
        while (end < n && p[end] != '}' && end - i < sizeof name) {
            digits = digits && p[end] >= '0' && p[end] <= '9';
            number = digits ? number * 10 + (size_t)(p[end] - '0') : 0;
            name[end - i - 1] = p[end];
            end++;
        }
        const tpl_value *a = NULL;
        if (end == i + 1) a = tpl_arg(args, next++, "");
        else a = tpl_arg(args, digits && number < SIZE_MAX / 16 ? number : SIZE_MAX, name);
        if (!a || end >= n || p[end] != '}')
            status = tpl_fail(s, "a string's format() is not supported or lacks a value");
        else status = tpl_print(s, a, false, &text);
        i = end;
    }
    if (status == PUMICE_OK) return tpl_take(s, &text, out);
    pum_text_free(&text);
    return status;
}

static pumice_status text_method(tpl_state *s, const tpl_method *m, const tpl_args *args,
                                 tpl_value *out)
{
    const tpl_value *v = &m->object, *a = tpl_arg(args, 0, "chars");
    const char *name = m->name;
#define IS(text) tpl_named(name, m->bytes, text)
    if (IS("strip")) return tpl_strip(s, v, a, true, true, out);
    if (IS("lstrip")) return tpl_strip(s, v, a, true, false, out);
    if (IS("rstrip")) return tpl_strip(s, v, a, false, true, out);
    if (IS("split"))
        return tpl_split(s, v, tpl_arg(args, 0, "sep"), int_arg(args, 1, "maxsplit", -1), out);
    if (IS("rsplit"))
        return split_right(s, v, tpl_arg(args, 0, "sep"), int_arg(args, 1, "maxsplit", -1), out);
    if (IS("splitlines")) return split_lines(s, v, int_arg(args, 0, "keepends", 0) != 0, out);
    if (IS("startswith")) return has_affix(s, v, a, false, out);
    if (IS("endswith")) return has_affix(s, v, a, true, out);
    if (IS("upper")) return tpl_case(s, v, 'u', out);
    if (IS("lower")) return tpl_case(s, v, 'l', out);
    if (IS("title")) return tpl_case(s, v, 't', out);
    if (IS("capitalize")) return tpl_case(s, v, 'c', out);
    if (IS("replace"))
        return tpl_replace(s, v, tpl_arg(args, 0, "old"), tpl_arg(args, 1, "new"),
                           int_arg(args, 2, "count", -1), out);
    if (IS("join")) return a ? tpl_join(s, a, v, out) : tpl_fail(s, "join needs a list");
    if (IS("find")) return find_method(s, v, args, 'f', out);
    if (IS("rfind")) return find_method(s, v, args, 'r', out);
    if (IS("index")) return find_method(s, v, args, 'i', out);
    if (IS("count")) return find_method(s, v, args, 'c', out);
    if (IS("format")) return format_method(s, v, args, out);
    *out = *v;
    if (IS("removeprefix") || IS("removesuffix")) {
        bool end = IS("removesuffix");
        if (!a || a->type != TPL_TEXT || !affix(v, a, end)) return PUMICE_OK;
        out->as.text.n -= a->as.text.n;
        if (!end) out->as.text.s += a->as.text.n;
        return PUMICE_OK;
    }
    *out = tpl_bool(all_chars(v, name)); /* isdigit and its kin */
    return PUMICE_OK;
}

/* ---- methods of lists and dicts ---- */

static pumice_status list_method(tpl_state *s, const tpl_method *m, const tpl_args *args,
                                 tpl_value *out)
{
    tpl_list *list = m->object.as.list;
    const tpl_value *a = tpl_arg(args, 0, "object");
    const char *name = m->name;
    *out = tpl_none();
    if (IS("pop")) {
        int64_t i = int_arg(args, 0, "index", -1);
        if (i < 0) i += (int64_t)list->count;
        if (i < 0 || i >= (int64_t)list->count) return tpl_fail(s, "pop has no such item");
        *out = list->items[i];
        memmove(list->items + i, list->items + i + 1,
                (list->count - (size_t)i - 1) * sizeof *list->items);
        list->count--;
        return PUMICE_OK;
    }
    if (!a) return tpl_fail(s, "a list's method needs an argument");
    if (IS("append")) return tpl_push(s, list, *a);
    if (IS("extend")) {
        tpl_value items;
        PUM_TRY(tpl_items(s, a, &items));
        size_t n = items.as.list->count;
        for (size_t i = 0; i < n; i++) PUM_TRY(tpl_push(s, list, items.as.list->items[i]));
        return PUMICE_OK;
    }
    if (IS("insert")) {
        const tpl_value *item = tpl_arg(args, 1, "item");
        int64_t i = int_arg(args, 0, "index", 0);
        if (!item) return tpl_fail(s, "insert needs a place and an item");
        if (i < 0) i = PUM_MAX((int64_t)0, i + (int64_t)list->count);
        i = PUM_MIN(i, (int64_t)list->count);
        PUM_TRY(tpl_push(s, list, *item));
        memmove(list->items + i + 1, list->items + i,
                (list->count - 1 - (size_t)i) * sizeof *list->items);
        list->items[i] = *item;
        return PUMICE_OK;
    }
    int64_t at = -1, count = 0;
    for (size_t i = 0; i < list->count; i++) {
        if (!tpl_equal(&list->items[i], a)) continue;
        if (at < 0) at = (int64_t)i;
        count++;
    }
    if (IS("index") && at < 0) return tpl_fail(s, "index finds no such item");
    *out = tpl_int(IS("index") ? at : count);
    return PUMICE_OK;
}

static pumice_status dict_list(tpl_state *s, const tpl_dict *d, bool keys, bool values,
                               tpl_value *out)
{
    PUM_TRY(tpl_new_list(s, out));
    for (size_t i = 0; i < d->count; i++) {
        tpl_value item = keys ? d->keys[i] : d->values[i];
        if (keys && values) {
            PUM_TRY(tpl_new_list(s, &item));
            item.tuple = true;
            PUM_TRY(tpl_push(s, item.as.list, d->keys[i]));
            PUM_TRY(tpl_push(s, item.as.list, d->values[i]));
        }
        PUM_TRY(tpl_push(s, out->as.list, item));
    }
    return PUMICE_OK;
}

static pumice_status dict_method(tpl_state *s, const tpl_method *m, const tpl_args *args,
                                 tpl_value *out)
{
    tpl_dict *d = m->object.as.dict;
    const char *name = m->name;
    if (IS("items")) return dict_list(s, d, true, true, out);
    if (IS("keys")) return dict_list(s, d, true, false, out);
    if (IS("values")) return dict_list(s, d, false, true, out);
    const tpl_value *key = tpl_arg(args, 0, "key"), *other = tpl_arg(args, 1, "default");
    *out = other ? *other : tpl_none();
    if (IS("update")) {
        if (!key || key->type != TPL_DICT) return tpl_fail(s, "update needs a dict");
        for (size_t i = 0; i < key->as.dict->count; i++)
            PUM_TRY(tpl_put(s, d, key->as.dict->keys[i], key->as.dict->values[i]));
        return PUMICE_OK;
    }
    if (!key) return tpl_fail(s, "a dict's method needs a key");
    const tpl_value *v = tpl_get_value(d, key);
    if (v) *out = *v;
    if (IS("setdefault") && !v) return tpl_put(s, d, *key, *out);
    if (IS("pop") && v) {
        size_t i = (size_t)(v - d->values);
        memmove(d->keys + i, d->keys + i + 1, (d->count - i - 1) * sizeof *d->keys);
        memmove(d->values + i, d->values + i + 1, (d->count - i - 1) * sizeof *d->values);
        d->count--;
    }
    return PUMICE_OK;
}

static pumice_status cycle(tpl_state *s, const tpl_loop *loop, const tpl_args *args, tpl_value *out)
{
    if (!args->n_positional) return tpl_fail(s, "cycle needs items");
    *out = args->values[loop->index % args->n_positional];
    return PUMICE_OK;
}

/* ---- functions ---- */

static pumice_status fn_raise(tpl_state *s, const tpl_args *args, tpl_value *out)
{
    tpl_value text = tpl_literal("the template refuses these messages");
    (void)out;
    if (args->count) PUM_TRY(tpl_string_of(s, &args->values[0], &text));
    return tpl_fail(s, "%.*s", (int)PUM_MIN(text.as.text.n, (size_t)300), text.as.text.s);
}

static pumice_status fn_now(tpl_state *s, const tpl_args *args, tpl_value *out)
{
    return tpl_strftime(s, tpl_arg(args, 0, "format"), out);
}

static pumice_status fn_range(tpl_state *s, const tpl_args *args, tpl_value *out)
{
    int64_t from = 0, to = int_arg(args, 0, "", 0), step = 1;
    if (args->n_positional > 1) {
        from = to;
        to = int_arg(args, 1, "", 0);
        step = int_arg(args, 2, "", 1);
    }
    PUM_TRY(tpl_new_list(s, out));
    if (step == 0) return tpl_fail(s, "range has a step of zero");
    for (int64_t i = from, n = 0; step > 0 ? i < to : i > to; i += step) {
        if (++n > 100000) return tpl_fail(s, "range has more than 100000 numbers");
        PUM_TRY(tpl_push(s, out->as.list, tpl_int(i)));
    }
    return PUMICE_OK;
}

static pumice_status fn_dict(tpl_state *s, const tpl_args *args, tpl_value *out)
{
    PUM_TRY(tpl_new_dict(s, out));
    const tpl_value *first = args->n_positional ? &args->values[0] : NULL;
    for (size_t i = 0; first && first->type == TPL_DICT && i < first->as.dict->count; i++)
        PUM_TRY(tpl_put(s, out->as.dict, first->as.dict->keys[i], first->as.dict->values[i]));
    for (size_t i = args->n_positional; i < args->count; i++) {
        const tpl_node *n = args->names[i];
        tpl_value key = { .type = TPL_TEXT, .as.text = { n->name, n->name_bytes } };
        PUM_TRY(tpl_put(s, out->as.dict, key, args->values[i]));
    }
    return PUMICE_OK;
}

static pumice_status fn_namespace(tpl_state *s, const tpl_args *args, tpl_value *out)
{
    PUM_TRY(fn_dict(s, args, out));
    out->type = TPL_SPACE;
    return PUMICE_OK;
}

static const struct {
    const char *name;
    pumice_status (*call)(tpl_state *s, const tpl_args *args, tpl_value *out);
} functions[] = { { "raise_exception", fn_raise }, { "strftime_now", fn_now },
                  { "range", fn_range },           { "dict", fn_dict },
                  { "namespace", fn_namespace } };

bool tpl_find_function(const char *name, size_t bytes, tpl_value *out)
{
    for (size_t i = 0; i < PUM_COUNT(functions); i++) {
        if (!tpl_named(name, bytes, functions[i].name)) continue;
        *out = (tpl_value){ .type = TPL_FUNCTION, .as.function = (int)i };
        return true;
    }
    return false;
}

pumice_status tpl_call(tpl_state *s, const tpl_value *callee, const tpl_args *args, tpl_value *out)
{
    *out = tpl_none();
    if (callee->type == TPL_MACRO) return tpl_call_macro(s, callee->as.macro, args, out);
    if (callee->type == TPL_FUNCTION) return functions[callee->as.function].call(s, args, out);
    if (callee->type == TPL_UNDEFINED) {
        return tpl_fail(s, "'%.*s' is undefined", (int)PUM_MIN(callee->as.text.n, (size_t)100),
                        callee->as.text.s ? callee->as.text.s : "");
    }
    if (callee->type != TPL_METHOD) return tpl_fail(s, "%s cannot be called", tpl_type_name(callee));
    const tpl_method *m = callee->as.method;
    if (m->object.type == TPL_TEXT) return text_method(s, m, args, out);
    if (m->object.type == TPL_LIST) return list_method(s, m, args, out);
    if (m->object.type == TPL_LOOP) return cycle(s, m->object.as.loop, args, out);
    return dict_method(s, m, args, out);
}
