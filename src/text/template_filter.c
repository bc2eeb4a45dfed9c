/* SPDX-License-Identifier: Apache-2.0
 * Filters and tests, each a row of a table. */
#include "template_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef pumice_status filter_fn(tpl_state *s, const tpl_value *v, const tpl_args *args,
                                tpl_value *out);

static int64_t int_or(const tpl_value *v, int64_t if_absent)
{
    if (v && v->type == TPL_BOOL) return v->as.flag;
    return v && v->type == TPL_INTEGER ? v->as.integer : if_absent;
}

static bool flag_arg(const tpl_args *args, size_t i, const char *name)
{
    const tpl_value *v = tpl_arg(args, i, name);
    return v && tpl_truth(v);
}

/* ---- strings ---- */

static pumice_status f_trim(tpl_state *s, const tpl_value *v, const tpl_args *a, tpl_value *out)
{
    return tpl_strip(s, v, tpl_arg(a, 0, "chars"), true, true, out);
}
static pumice_status f_upper(tpl_state *s, const tpl_value *v, const tpl_args *a, tpl_value *out)
{
    (void)a;
    return tpl_case(s, v, 'u', out);
}
static pumice_status f_lower(tpl_state *s, const tpl_value *v, const tpl_args *a, tpl_value *out)
{
    (void)a;
    return tpl_case(s, v, 'l', out);
}
static pumice_status f_title(tpl_state *s, const tpl_value *v, const tpl_args *a, tpl_value *out)
{
    (void)a;
    return tpl_case(s, v, 'T', out);
}
static pumice_status f_capitalize(tpl_state *s, const tpl_value *v, const tpl_args *a,
                                  tpl_value *out)
{
    (void)a;
    return tpl_case(s, v, 'c', out);
}
static pumice_status f_string(tpl_state *s, const tpl_value *v, const tpl_args *a, tpl_value *out)
{
    (void)a;
    return tpl_string_of(s, v, out);
}
static pumice_status f_replace(tpl_state *s, const tpl_value *v, const tpl_args *a, tpl_value *out)
{
    return tpl_replace(s, v, tpl_arg(a, 0, "old"), tpl_arg(a, 1, "new"),
                       int_or(tpl_arg(a, 2, "count"), -1), out);
}

static pumice_status f_escape(tpl_state *s, const tpl_value *v, const tpl_args *a, tpl_value *out)
{
    tpl_value text;
    pum_text to = { 0 };
    (void)a;
    PUM_TRY(tpl_string_of(s, v, &text));
    for (size_t i = 0; i < text.as.text.n; i++) {
        char c = text.as.text.s[i];
        const char *by = c == '&'    ? "&amp;"
                         : c == '<'  ? "&lt;"
                         : c == '>'  ? "&gt;"
                         : c == '"'  ? "&#34;"
                         : c == '\'' ? "&#39;"
                                     : NULL;
        if (by) pum_text_add(&to, by, strlen(by));
        else pum_text_add(&to, &c, 1);
    }
    return tpl_take(s, &to, out);
}

/* indent(width=4, first=false, blank=false) */
static pumice_status f_indent(tpl_state *s, const tpl_value *v, const tpl_args *a, tpl_value *out)
{
    const tpl_value *width = tpl_arg(a, 0, "width");
    bool first = flag_arg(a, 1, "first"), blank = flag_arg(a, 2, "blank");
    tpl_value text;
    pum_text pad = { 0 }, to = { 0 };
    PUM_TRY(tpl_string_of(s, v, &text));
    if (width && width->type == TPL_TEXT) pum_text_add(&pad, width->as.text.s, width->as.text.n);
    else {
        int64_t n = PUM_MIN(int_or(width, 4), (int64_t)1000);
        for (int64_t i = 0; i < n; i++) pum_text_add(&pad, " ", 1);
    }
    pum_text_add(&pad, "", 0);
    const char *p = text.as.text.s;
    bool line_start = false;
    if (first) pum_text_add(&to, pad.data, pad.count);
    for (size_t i = 0; i < text.as.text.n; i++) {
        if (line_start && (blank || p[i] != '\n')) pum_text_add(&to, pad.data, pad.count);
        line_start = p[i] == '\n';
        pum_text_add(&to, p + i, 1);
    }
    if (line_start && blank) pum_text_add(&to, pad.data, pad.count);
    if (pad.failed) to.failed = true;
    pum_text_free(&pad);
    return tpl_take(s, &to, out);
}

static pumice_status f_wordcount(tpl_state *s, const tpl_value *v, const tpl_args *a,
                                 tpl_value *out)
{
    tpl_value text, words;
    (void)a;
    PUM_TRY(tpl_string_of(s, v, &text));
    PUM_TRY(tpl_split(s, &text, NULL, -1, &words));
    *out = tpl_int((int64_t)words.as.list->count);
    return PUMICE_OK;
}

static pumice_status f_format(tpl_state *s, const tpl_value *v, const tpl_args *a, tpl_value *out)
{
    tpl_value list;
    if (v->type != TPL_TEXT) return tpl_fail(s, "format needs a string");
    PUM_TRY(tpl_new_list(s, &list));
    list.tuple = true;
    for (size_t i = 0; i < a->n_positional; i++) PUM_TRY(tpl_push(s, list.as.list, a->values[i]));
    return tpl_format(s, v, &list, out);
}

/* ---- numbers ---- */

static pumice_status f_int(tpl_state *s, const tpl_value *v, const tpl_args *a, tpl_value *out)
{
    char text[40], *end;
    (void)s;
    *out = tpl_int(int_or(tpl_arg(a, 0, "default"), 0));
    if (v->type == TPL_INTEGER || v->type == TPL_BOOL) *out = tpl_int(int_or(v, 0));
    else if (v->type == TPL_REAL && fabs(v->as.real) < 9e18) *out = tpl_int((int64_t)v->as.real);
    if (v->type != TPL_TEXT || v->as.text.n == 0 || v->as.text.n >= sizeof text) return PUMICE_OK;
    memcpy(text, v->as.text.s, v->as.text.n);
    text[v->as.text.n] = '\0';
    double d = strtod(text, &end);
    while (*end == ' ') end++;
    if (!*end && fabs(d) < 9e18) *out = tpl_int((int64_t)d);
    return PUMICE_OK;
}

static pumice_status f_float(tpl_state *s, const tpl_value *v, const tpl_args *a, tpl_value *out)
{
    char text[64], *end;
    (void)s;
    *out = tpl_real(0);
    const tpl_value *other = tpl_arg(a, 0, "default");
    if (other) *out = *other;
    if (v->type == TPL_REAL) *out = *v;
    else if (v->type == TPL_INTEGER || v->type == TPL_BOOL) *out = tpl_real((double)int_or(v, 0));
    if (v->type != TPL_TEXT || v->as.text.n == 0 || v->as.text.n >= sizeof text) return PUMICE_OK;
    memcpy(text, v->as.text.s, v->as.text.n);
    text[v->as.text.n] = '\0';
    double d = strtod(text, &end);
    if (!*end) *out = tpl_real(d);
    return PUMICE_OK;
}

static pumice_status f_abs(tpl_state *s, const tpl_value *v, const tpl_args *a, tpl_value *out)
{
    (void)a;
    if (v->type == TPL_REAL) *out = tpl_real(fabs(v->as.real));
    else if (v->type == TPL_INTEGER) *out = tpl_int(v->as.integer < 0 ? -v->as.integer : v->as.integer);
    else return tpl_fail(s, "abs needs a number, not %s", tpl_type_name(v));
    return PUMICE_OK;
}

static pumice_status f_round(tpl_state *s, const tpl_value *v, const tpl_args *a, tpl_value *out)
{
    const tpl_value *method = tpl_arg(a, 1, "method");
    double r = v->type == TPL_REAL ? v->as.real : (double)int_or(v, 0);
    double scale = pow(10, (double)int_or(tpl_arg(a, 0, "precision"), 0));
    if (v->type != TPL_REAL && v->type != TPL_INTEGER)
        return tpl_fail(s, "round needs a number, not %s", tpl_type_name(v));
    if (method && tpl_is(method, "ceil")) r = ceil(r * scale) / scale;
    else if (method && tpl_is(method, "floor")) r = floor(r * scale) / scale;
    else r = nearbyint(r * scale) / scale;
    *out = tpl_real(r);
    return PUMICE_OK;
}

/* ---- any value ---- */

static pumice_status f_default(tpl_state *s, const tpl_value *v, const tpl_args *a, tpl_value *out)
{
    const tpl_value *other = tpl_arg(a, 0, "default_value");
    bool absent = v->type == TPL_UNDEFINED || (flag_arg(a, 1, "boolean") && !tpl_truth(v));
    (void)s;
    *out = !absent ? *v : other ? *other : tpl_literal("");
    return PUMICE_OK;
}

static pumice_status f_length(tpl_state *s, const tpl_value *v, const tpl_args *a, tpl_value *out)
{
    (void)a;
    size_t n = 0;
    if (v->type == TPL_TEXT) n = tpl_chars(v->as.text.s, v->as.text.n);
    else if (v->type == TPL_LIST) n = v->as.list->count;
    else if (v->type == TPL_DICT) n = v->as.dict->count;
    else if (v->type != TPL_UNDEFINED) return tpl_fail(s, "%s has no length", tpl_type_name(v));
    *out = tpl_int((int64_t)n);
    return PUMICE_OK;
}

static pumice_status f_same(tpl_state *s, const tpl_value *v, const tpl_args *a, tpl_value *out)
{
    (void)s, (void)a;
    *out = *v;
    return PUMICE_OK;
}

static pumice_status f_tojson(tpl_state *s, const tpl_value *v, const tpl_args *a, tpl_value *out)
{
    const tpl_value *indent = tpl_arg(a, 1, "indent"), *marks = tpl_arg(a, 2, "separators");
    if (a->n_positional == 1) indent = &a->values[0]; /* jinja2's own tojson(indent) */
    tpl_json_style style = { .indent = -1, .comma = ", ", .colon = ": " };
    style.ascii = a->n_positional != 1 && flag_arg(a, 0, "ensure_ascii");
    style.sorted = flag_arg(a, 3, "sort_keys");
    if (indent && indent->type == TPL_INTEGER) {
        style.indent = (int)PUM_MAX((int64_t)0, PUM_MIN(indent->as.integer, (int64_t)64));
        style.comma = ",";
    }
    if (marks && marks->type == TPL_LIST && marks->as.list->count == 2) {
        const char **to[] = { &style.comma, &style.colon };
        for (size_t i = 0; i < 2; i++) {
            tpl_value text;
            PUM_TRY(tpl_text(s, marks->as.list->items[i].as.text.s,
                             marks->as.list->items[i].type == TPL_TEXT
                                 ? marks->as.list->items[i].as.text.n
                                 : 0,
                             &text));
            *to[i] = text.as.text.s;
        }
    }
    pum_text text = { 0 };
    pumice_status status = tpl_json(s, v, &style, 0, &text);
    if (status == PUMICE_OK) return tpl_take(s, &text, out);
    pum_text_free(&text);
    return status;
}

/* ---- lists ---- */

static pumice_status f_first(tpl_state *s, const tpl_value *v, const tpl_args *a, tpl_value *out)
{
    tpl_value items;
    (void)a;
    PUM_TRY(tpl_items(s, v, &items));
    *out = items.as.list->count ? items.as.list->items[0] : tpl_undefined("", 0);
    return PUMICE_OK;
}

static pumice_status f_last(tpl_state *s, const tpl_value *v, const tpl_args *a, tpl_value *out)
{
    tpl_value items;
    (void)a;
    PUM_TRY(tpl_items(s, v, &items));
    size_t n = items.as.list->count;
    *out = n ? items.as.list->items[n - 1] : tpl_undefined("", 0);
    return PUMICE_OK;
}

static pumice_status f_list(tpl_state *s, const tpl_value *v, const tpl_args *a, tpl_value *out)
{
    tpl_value items;
    (void)a;
    PUM_TRY(tpl_items(s, v, &items));
    PUM_TRY(tpl_new_list(s, out));
    for (size_t i = 0; i < items.as.list->count; i++)
        PUM_TRY(tpl_push(s, out->as.list, items.as.list->items[i]));
    return PUMICE_OK;
}

static pumice_status f_reverse(tpl_state *s, const tpl_value *v, const tpl_args *a, tpl_value *out)
{
    tpl_value items, nothing = tpl_literal("");
    (void)a;
    PUM_TRY(tpl_items(s, v, &items));
    PUM_TRY(tpl_new_list(s, out));
    for (size_t i = items.as.list->count; i-- > 0;)
        PUM_TRY(tpl_push(s, out->as.list, items.as.list->items[i]));
    if (v->type != TPL_TEXT) return PUMICE_OK;
    tpl_value list = *out;
    return tpl_join(s, &list, &nothing, out);
}

static pumice_status f_items(tpl_state *s, const tpl_value *v, const tpl_args *a, tpl_value *out)
{
    tpl_method m = { *v, "items", 5 };
    tpl_value method = { .type = TPL_METHOD, .as.method = &m };
    if (v->type == TPL_UNDEFINED) return tpl_new_list(s, out);
    if (v->type != TPL_DICT) return tpl_fail(s, "items needs a dict, not %s", tpl_type_name(v));
    return tpl_call(s, &method, a, out);
}

/* The part of an item that "a.b" names; the item itself without a name. */
static pumice_status attribute_of(tpl_state *s, const tpl_value *item, const tpl_value *name,
                                  tpl_value *out)
{
    *out = *item;
    if (!name) return PUMICE_OK;
    if (name->type == TPL_INTEGER && item->type == TPL_LIST) {
        int64_t i = name->as.integer;
        *out = i >= 0 && i < (int64_t)item->as.list->count ? item->as.list->items[i]
                                                           : tpl_undefined("", 0);
        return PUMICE_OK;
    }
    if (name->type != TPL_TEXT) return PUMICE_OK;
    for (size_t i = 0, end; i <= name->as.text.n; i = end + 1) {
        tpl_value inner = *out;
        for (end = i; end < name->as.text.n && name->as.text.s[end] != '.';) end++;
        PUM_TRY(tpl_attr(s, &inner, name->as.text.s + i, end - i, true, out));
    }
    return PUMICE_OK;
}

static pumice_status f_join(tpl_state *s, const tpl_value *v, const tpl_args *a, tpl_value *out)
{
    const tpl_value *name = tpl_arg(a, 1, "attribute");
    tpl_value items, parts;
    if (!name) return tpl_join(s, v, tpl_arg(a, 0, "d"), out);
    PUM_TRY(tpl_items(s, v, &items));
    PUM_TRY(tpl_new_list(s, &parts));
    for (size_t i = 0; i < items.as.list->count; i++) {
        tpl_value part;
        PUM_TRY(attribute_of(s, &items.as.list->items[i], name, &part));
        PUM_TRY(tpl_push(s, parts.as.list, part));
    }
    return tpl_join(s, &parts, tpl_arg(a, 0, "d"), out);
}

/* How sorting sees a value: strings without their case unless told otherwise. */
static pumice_status sort_key(tpl_state *s, const tpl_value *item, const tpl_value *name,
                              bool cased, tpl_value *out)
{
    tpl_value v;
    PUM_TRY(attribute_of(s, item, name, &v));
    *out = v;
    return v.type == TPL_TEXT && !cased ? tpl_case(s, &v, 'l', out) : PUMICE_OK;
}

static pumice_status sort_items(tpl_state *s, const tpl_value *items, const tpl_value *name,
                                bool cased, bool reverse, tpl_value *out)
{
    tpl_value keys;
    PUM_TRY(tpl_new_list(s, out));
    PUM_TRY(tpl_new_list(s, &keys));
    for (size_t i = 0; i < items->as.list->count; i++) { /* by insertion: stable */
        tpl_value key, item = items->as.list->items[i];
        PUM_TRY(sort_key(s, &item, name, cased, &key));
        PUM_TRY(tpl_push(s, keys.as.list, key));
        PUM_TRY(tpl_push(s, out->as.list, item));
        tpl_value *k = keys.as.list->items, *v = out->as.list->items;
        for (size_t j = i; j > 0; j--) {
            int order;
            PUM_TRY(tpl_step(s));
            PUM_TRY(tpl_order(s, &k[j - 1], &key, &order));
            if (reverse ? order >= 0 : order <= 0) break;
            k[j] = k[j - 1], k[j - 1] = key;
            v[j] = v[j - 1], v[j - 1] = item;
        }
    }
    return PUMICE_OK;
}

static pumice_status f_sort(tpl_state *s, const tpl_value *v, const tpl_args *a, tpl_value *out)
{
    tpl_value items;
    PUM_TRY(tpl_items(s, v, &items));
    return sort_items(s, &items, tpl_arg(a, 2, "attribute"), flag_arg(a, 1, "case_sensitive"),
                      flag_arg(a, 0, "reverse"), out);
}

static pumice_status f_dictsort(tpl_state *s, const tpl_value *v, const tpl_args *a,
                                tpl_value *out)
{
    const tpl_value *by = tpl_arg(a, 1, "by");
    tpl_args none = { 0 };
    tpl_value items, place = tpl_int(by && tpl_is(by, "value"));
    PUM_TRY(f_items(s, v, &none, &items));
    return sort_items(s, &items, &place, flag_arg(a, 0, "case_sensitive"),
                      flag_arg(a, 2, "reverse"), out);
}

static pumice_status f_unique(tpl_state *s, const tpl_value *v, const tpl_args *a, tpl_value *out)
{
    tpl_value items, seen;
    PUM_TRY(tpl_items(s, v, &items));
    PUM_TRY(tpl_new_list(s, out));
    PUM_TRY(tpl_new_dict(s, &seen));
    for (size_t i = 0; i < items.as.list->count; i++) {
        tpl_value key;
        PUM_TRY(tpl_step(s));
        PUM_TRY(sort_key(s, &items.as.list->items[i], tpl_arg(a, 1, "attribute"),
                         flag_arg(a, 0, "case_sensitive"), &key));
        if (tpl_get_value(seen.as.dict, &key)) continue;
        PUM_TRY(tpl_put(s, seen.as.dict, key, tpl_none()));
        PUM_TRY(tpl_push(s, out->as.list, items.as.list->items[i]));
    }
    return PUMICE_OK;
}

static pumice_status extreme(tpl_state *s, const tpl_value *v, const tpl_args *a, int sign,
                             tpl_value *out)
{
    tpl_value items, best_key = tpl_none();
    PUM_TRY(tpl_items(s, v, &items));
    *out = tpl_undefined("", 0);
    for (size_t i = 0; i < items.as.list->count; i++) {
        tpl_value key;
        int order = 1;
        PUM_TRY(sort_key(s, &items.as.list->items[i], tpl_arg(a, 1, "attribute"),
                         flag_arg(a, 0, "case_sensitive"), &key));
        if (i) PUM_TRY(tpl_order(s, &key, &best_key, &order));
        if (i && order * sign <= 0) continue;
        best_key = key;
        *out = items.as.list->items[i];
    }
    return PUMICE_OK;
}

static pumice_status f_min(tpl_state *s, const tpl_value *v, const tpl_args *a, tpl_value *out)
{
    return extreme(s, v, a, -1, out);
}
static pumice_status f_max(tpl_state *s, const tpl_value *v, const tpl_args *a, tpl_value *out)
{
    return extreme(s, v, a, 1, out);
}

static pumice_status f_sum(tpl_state *s, const tpl_value *v, const tpl_args *a, tpl_value *out)
{
    tpl_value items;
    double real = 0;
    int64_t integer = 0;
    bool reals = false;
    PUM_TRY(tpl_items(s, v, &items));
    for (size_t i = 0; i < items.as.list->count; i++) {
        tpl_value x;
        PUM_TRY(attribute_of(s, &items.as.list->items[i], tpl_arg(a, 0, "attribute"), &x));
        if (x.type == TPL_REAL) reals = true, real += x.as.real;
        else if (x.type == TPL_INTEGER || x.type == TPL_BOOL)
            integer = (int64_t)((uint64_t)integer + (uint64_t)int_or(&x, 0));
        else return tpl_fail(s, "sum goes over %s", tpl_type_name(&x));
    }
    *out = reals ? tpl_real(real + (double)integer) : tpl_int(integer);
    return PUMICE_OK;
}

/* The arguments from index `from` on, as those of a filter or test. */
static tpl_args rest_of(const tpl_args *a, size_t from)
{
    from = PUM_MIN(from, a->n_positional);
    return (tpl_args){ a->values + from, a->names + from, a->count - from, a->n_positional - from };
}

static pumice_status f_map(tpl_state *s, const tpl_value *v, const tpl_args *a, tpl_value *out)
{
    const tpl_value *attribute = tpl_arg(a, SIZE_MAX, "attribute");
    const tpl_value *other = tpl_arg(a, SIZE_MAX, "default");
    tpl_args rest = rest_of(a, 1);
    tpl_value items;
    if (!attribute && (!a->n_positional || a->values[0].type != TPL_TEXT))
        return tpl_fail(s, "map needs a filter's name or an attribute");
    PUM_TRY(tpl_items(s, v, &items));
    PUM_TRY(tpl_new_list(s, out));
    for (size_t i = 0; i < items.as.list->count; i++) {
        tpl_value x;
        const tpl_value *item = &items.as.list->items[i];
        PUM_TRY(tpl_step(s));
        if (attribute) PUM_TRY(attribute_of(s, item, attribute, &x));
        else PUM_TRY(tpl_filter(s, a->values[0].as.text.s, a->values[0].as.text.n, item, &rest, &x));
        if (attribute && x.type == TPL_UNDEFINED && other) x = *other;
        PUM_TRY(tpl_push(s, out->as.list, x));
    }
    return PUMICE_OK;
}

/* select, reject, selectattr, rejectattr */
static pumice_status choose(tpl_state *s, const tpl_value *v, const tpl_args *a, bool attribute,
                            bool want, tpl_value *out)
{
    size_t at = attribute ? 1 : 0;
    tpl_args rest = rest_of(a, at + 1);
    tpl_value items;
    if (attribute && !a->n_positional) return tpl_fail(s, "selectattr needs an attribute");
    PUM_TRY(tpl_items(s, v, &items));
    PUM_TRY(tpl_new_list(s, out));
    for (size_t i = 0; i < items.as.list->count; i++) {
        tpl_value x;
        bool good;
        PUM_TRY(tpl_step(s));
        PUM_TRY(attribute_of(s, &items.as.list->items[i], attribute ? &a->values[0] : NULL, &x));
        good = tpl_truth(&x);
        if (a->n_positional > at) {
            const tpl_value *name = &a->values[at];
            if (name->type != TPL_TEXT) return tpl_fail(s, "select needs a test's name");
            PUM_TRY(tpl_test(s, name->as.text.s, name->as.text.n, &x, &rest, &good));
        }
        if (good == want) PUM_TRY(tpl_push(s, out->as.list, items.as.list->items[i]));
    }
    return PUMICE_OK;
}

static pumice_status f_select(tpl_state *s, const tpl_value *v, const tpl_args *a, tpl_value *out)
{
    return choose(s, v, a, false, true, out);
}
static pumice_status f_reject(tpl_state *s, const tpl_value *v, const tpl_args *a, tpl_value *out)
{
    return choose(s, v, a, false, false, out);
}
static pumice_status f_selectattr(tpl_state *s, const tpl_value *v, const tpl_args *a,
                                  tpl_value *out)
{
    return choose(s, v, a, true, true, out);
}
static pumice_status f_rejectattr(tpl_state *s, const tpl_value *v, const tpl_args *a,
                                  tpl_value *out)
{
    return choose(s, v, a, true, false, out);
}

static pumice_status f_attr(tpl_state *s, const tpl_value *v, const tpl_args *a, tpl_value *out)
{
    const tpl_value *name = tpl_arg(a, 0, "name");
    if (!name || name->type != TPL_TEXT) return tpl_fail(s, "attr needs a name");
    return tpl_attr(s, v, name->as.text.s, name->as.text.n, false, out);
}

static const struct {
    const char *name;
    filter_fn *fn;
} filters[] = {
    { "trim", f_trim },         { "upper", f_upper },           { "lower", f_lower },
    { "title", f_title },       { "capitalize", f_capitalize }, { "string", f_string },
    { "replace", f_replace },   { "escape", f_escape },         { "e", f_escape },
    { "indent", f_indent },     { "wordcount", f_wordcount },   { "format", f_format },
    { "int", f_int },           { "float", f_float },           { "abs", f_abs },
    { "round", f_round },       { "default", f_default },       { "d", f_default },
    { "length", f_length },     { "count", f_length },          { "safe", f_same },
    { "tojson", f_tojson },     { "first", f_first },           { "last", f_last },
    { "list", f_list },         { "reverse", f_reverse },       { "items", f_items },
    { "join", f_join },         { "sort", f_sort },             { "dictsort", f_dictsort },
    { "unique", f_unique },     { "min", f_min },               { "max", f_max },
    { "sum", f_sum },           { "map", f_map },               { "select", f_select },
    { "reject", f_reject },     { "selectattr", f_selectattr }, { "rejectattr", f_rejectattr },
    { "attr", f_attr },
};

pumice_status tpl_filter(tpl_state *s, const char *name, size_t bytes, const tpl_value *v,
                         const tpl_args *args, tpl_value *out)
{
    *out = tpl_none();
    for (size_t i = 0; i < PUM_COUNT(filters); i++) {
        if (tpl_named(name, bytes, filters[i].name)) return filters[i].fn(s, v, args, out);
    }
    return tpl_fail(s, "the filter '%.*s' is not supported", (int)PUM_MIN(bytes, (size_t)60), name);
}

/* ---- tests ---- */

static bool is_lower(const tpl_value *v, char other, char last)
{
    bool any = false;
    for (size_t i = 0; i < v->as.text.n; i++) {
        char c = v->as.text.s[i];
        if (c >= other && c <= last) return false;
        any = any || (c | 32) != c || ((c | 32) >= 'a' && (c | 32) <= 'z');
    }
    return v->type == TPL_TEXT && any;
}

/* Tests without an argument; *out_known = it is one. */
static bool plain_test(const tpl_value *v, const char *name, size_t bytes, bool *out_known)
{
    tpl_type t = v->type;
    *out_known = true;
    if (tpl_named(name, bytes, "defined")) return t != TPL_UNDEFINED;
    if (tpl_named(name, bytes, "undefined")) return t == TPL_UNDEFINED;
    if (tpl_named(name, bytes, "none")) return t == TPL_NONE;
    if (tpl_named(name, bytes, "string")) return t == TPL_TEXT;
    if (tpl_named(name, bytes, "mapping")) return t == TPL_DICT;
    if (tpl_named(name, bytes, "number"))
        return t == TPL_INTEGER || t == TPL_REAL || t == TPL_BOOL;
    if (tpl_named(name, bytes, "integer")) return t == TPL_INTEGER;
    if (tpl_named(name, bytes, "float")) return t == TPL_REAL;
    if (tpl_named(name, bytes, "boolean")) return t == TPL_BOOL;
    if (tpl_named(name, bytes, "true")) return t == TPL_BOOL && v->as.flag;
    if (tpl_named(name, bytes, "false")) return t == TPL_BOOL && !v->as.flag;
    if (tpl_named(name, bytes, "iterable") || tpl_named(name, bytes, "sequence"))
        return t == TPL_TEXT || t == TPL_LIST || t == TPL_DICT || t == TPL_UNDEFINED;
    if (tpl_named(name, bytes, "callable"))
        return t == TPL_MACRO || t == TPL_FUNCTION || t == TPL_METHOD;
    if (tpl_named(name, bytes, "odd")) return t == TPL_INTEGER && v->as.integer % 2 != 0;
    if (tpl_named(name, bytes, "even")) return t == TPL_INTEGER && v->as.integer % 2 == 0;
    if (tpl_named(name, bytes, "lower")) return t == TPL_TEXT && is_lower(v, 'A', 'Z');
    if (tpl_named(name, bytes, "upper")) return t == TPL_TEXT && is_lower(v, 'a', 'z');
    *out_known = false;
    return false;
}

/* Names of comparisons, as tests. */
static const struct {
    const char *name;
    int low, high; /* the orders that are good */
} orders[] = { { "lt", -1, -1 }, { "lessthan", -1, -1 }, { "<", -1, -1 }, { "le", -1, 0 },
               { "gt", 1, 1 },   { "greaterthan", 1, 1 }, { ">", 1, 1 },  { "ge", 0, 1 } };

pumice_status tpl_test(tpl_state *s, const char *name, size_t bytes, const tpl_value *v,
                       const tpl_args *args, bool *out)
{
    bool known;
    const tpl_value *a = tpl_arg(args, 0, "other");
    *out = plain_test(v, name, bytes, &known);
    if (known) return PUMICE_OK;
    bool in = tpl_named(name, bytes, "in");
    bool same = tpl_named(name, bytes, "equalto") || tpl_named(name, bytes, "eq") ||
                tpl_named(name, bytes, "==") || tpl_named(name, bytes, "sameas");
    bool differ = tpl_named(name, bytes, "ne") || tpl_named(name, bytes, "!=");
    bool divides = tpl_named(name, bytes, "divisibleby");
    bool contains = tpl_named(name, bytes, "contains");
    if (tpl_named(name, bytes, "filter") || tpl_named(name, bytes, "test"))
        return tpl_fail(s, "the test '%.*s' is not supported", (int)bytes, name);
    if ((in || same || differ || divides || contains) && !a)
        return tpl_fail(s, "the test '%.*s' needs something to compare with", (int)bytes, name);
    if (in) return tpl_contains(s, a, v, out);
    if (contains) return tpl_contains(s, v, a, out);
    if (same || differ) {
        *out = tpl_equal(v, a) == same;
        return PUMICE_OK;
    }
    if (divides) {
        *out = int_or(a, 0) != 0 && int_or(a, 0) != -1 ? int_or(v, 0) % int_or(a, 1) == 0
                                                        : int_or(a, 0) == -1;
        return PUMICE_OK;
    }
    for (size_t i = 0; i < PUM_COUNT(orders) && a; i++) {
        int order;
        if (!tpl_named(name, bytes, orders[i].name)) continue;
        PUM_TRY(tpl_order(s, v, a, &order));
        *out = order >= orders[i].low && order <= orders[i].high;
        return PUMICE_OK;
    }
    return tpl_fail(s, "the test '%.*s' is not supported", (int)PUM_MIN(bytes, (size_t)60), name);
}
