/* SPDX-License-Identifier: Apache-2.0
 * Values of templates: made, compared and shown as Python would. */
#include "template_impl.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

tpl_value tpl_none(void) { return (tpl_value){ .type = TPL_NONE }; }
tpl_value tpl_bool(bool flag) { return (tpl_value){ .type = TPL_BOOL, .as.flag = flag }; }
tpl_value tpl_int(int64_t i) { return (tpl_value){ .type = TPL_INTEGER, .as.integer = i }; }
tpl_value tpl_real(double r) { return (tpl_value){ .type = TPL_REAL, .as.real = r }; }

tpl_value tpl_literal(const char *text)
{
    return (tpl_value){ .type = TPL_TEXT, .as.text = { text, strlen(text) } };
}

tpl_value tpl_undefined(const char *name, size_t bytes)
{
    return (tpl_value){ .type = TPL_UNDEFINED, .as.text = { name, bytes } };
}

pumice_status tpl_text(tpl_state *s, const char *bytes, size_t count, tpl_value *out)
{
    char *copy = tpl_alloc(s, count + 1);
    if (!copy) return tpl_fail(s, "it needs too much memory");
    if (count) memcpy(copy, bytes, count);
    *out = (tpl_value){ .type = TPL_TEXT, .as.text = { copy, count } };
    return PUMICE_OK;
}

pumice_status tpl_take(tpl_state *s, pum_text *text, tpl_value *out)
{
    pumice_status status = text->failed ? tpl_fail(s, "it needs too much memory")
                                        : tpl_text(s, text->data, text->count, out);
    pum_text_free(text);
    return status;
}

pumice_status tpl_new_list(tpl_state *s, tpl_value *out)
{
    *out = (tpl_value){ .type = TPL_LIST };
    out->as.list = tpl_alloc(s, sizeof *out->as.list);
    return out->as.list ? PUMICE_OK : tpl_fail(s, "it needs too much memory");
}

/* Room for one more in an array of the arena. */
static bool grow(tpl_state *s, tpl_value **items, size_t count, size_t capacity)
{
    tpl_value *more = tpl_alloc(s, capacity * sizeof *more);
    if (more && count) memcpy(more, *items, count * sizeof *more);
    *items = more ? more : *items;
    return more != NULL;
}

pumice_status tpl_push(tpl_state *s, tpl_list *list, tpl_value v)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 8;
        if (!grow(s, &list->items, list->count, capacity))
            return tpl_fail(s, "it needs too much memory");
        list->capacity = capacity;
    }
    list->items[list->count++] = v;
    return PUMICE_OK;
}

pumice_status tpl_new_dict(tpl_state *s, tpl_value *out)
{
    *out = (tpl_value){ .type = TPL_DICT };
    out->as.dict = tpl_alloc(s, sizeof *out->as.dict);
    return out->as.dict ? PUMICE_OK : tpl_fail(s, "it needs too much memory");
}

pumice_status tpl_put(tpl_state *s, tpl_dict *dict, tpl_value key, tpl_value v)
{
    for (size_t i = 0; i < dict->count; i++) {
        if (!tpl_equal(&dict->keys[i], &key)) continue;
        dict->values[i] = v;
        return PUMICE_OK;
    }
    if (dict->count == dict->capacity) {
        size_t capacity = dict->capacity ? 2 * dict->capacity : 8;
        if (!grow(s, &dict->keys, dict->count, capacity) ||
            !grow(s, &dict->values, dict->count, capacity)) {
            return tpl_fail(s, "it needs too much memory");
        }
        dict->capacity = capacity;
    }
    dict->keys[dict->count] = key;
    dict->values[dict->count++] = v;
    return PUMICE_OK;
}

const tpl_value *tpl_get_value(const tpl_dict *dict, const tpl_value *key)
{
    for (size_t i = 0; i < dict->count; i++) {
        if (tpl_equal(&dict->keys[i], key)) return &dict->values[i];
    }
    return NULL;
}

const tpl_value *tpl_get(const tpl_dict *dict, const char *key, size_t bytes)
{
    tpl_value k = { .type = TPL_TEXT, .as.text = { key, bytes } };
    return tpl_get_value(dict, &k);
}

bool tpl_is(const tpl_value *v, const char *text)
{
    return v->type == TPL_TEXT && tpl_named(v->as.text.s, v->as.text.n, text);
}

const char *tpl_type_name(const tpl_value *v)
{
    static const char *const names[] = { "undefined", "None", "a bool", "an int", "a float",
                                         "a string", "a list", "a dict", "a namespace", "a loop",
                                         "a macro", "a function", "a method" };
    return names[v->type];
}

/* ---- truth, equality, order ---- */

bool tpl_truth(const tpl_value *v)
{
    switch (v->type) {
    case TPL_UNDEFINED:
    case TPL_NONE:
        return false;
    case TPL_BOOL:
        return v->as.flag;
    case TPL_INTEGER:
        return v->as.integer != 0;
    case TPL_REAL:
        return v->as.real != 0;
    case TPL_TEXT:
        return v->as.text.n > 0;
    case TPL_LIST:
        return v->as.list->count > 0;
    case TPL_DICT:
        return v->as.dict->count > 0;
    default:
        return true;
    }
}

static bool number_of(const tpl_value *v, double *out)
{
    if (v->type == TPL_BOOL) *out = v->as.flag;
    else if (v->type == TPL_INTEGER) *out = (double)v->as.integer;
    else if (v->type == TPL_REAL) *out = v->as.real;
    else return false;
    return true;
}

static bool equal_at(const tpl_value *a, const tpl_value *b, int depth)
{
    double x, y;
    if (number_of(a, &x) && number_of(b, &y)) return x == y;
    if (a->type != b->type || depth > 32) return false;
    switch (a->type) {
    case TPL_UNDEFINED:
    case TPL_NONE:
        return true;
    case TPL_TEXT:
        return a->as.text.n == b->as.text.n &&
               (a->as.text.n == 0 || memcmp(a->as.text.s, b->as.text.s, a->as.text.n) == 0);
    case TPL_LIST:
        if (a->as.list->count != b->as.list->count || a->tuple != b->tuple) return false;
        for (size_t i = 0; i < a->as.list->count; i++) {
            if (!equal_at(&a->as.list->items[i], &b->as.list->items[i], depth + 1)) return false;
        }
        return true;
    case TPL_DICT:
        if (a->as.dict->count != b->as.dict->count) return false;
        for (size_t i = 0; i < a->as.dict->count; i++) {
            const tpl_value *other = tpl_get_value(b->as.dict, &a->as.dict->keys[i]);
            if (!other || !equal_at(&a->as.dict->values[i], other, depth + 1)) return false;
        }
        return true;
    default:
        return a->as.dict == b->as.dict;
    }
}

bool tpl_equal(const tpl_value *a, const tpl_value *b) { return equal_at(a, b, 0); }

pumice_status tpl_order(tpl_state *s, const tpl_value *a, const tpl_value *b, int *out)
{
    double x, y;
    if (number_of(a, &x) && number_of(b, &y)) {
        *out = (x > y) - (x < y);
        return PUMICE_OK;
    }
    if (a->type == TPL_TEXT && b->type == TPL_TEXT) {
        size_t n = PUM_MIN(a->as.text.n, b->as.text.n);
        int c = n ? memcmp(a->as.text.s, b->as.text.s, n) : 0;
        *out = c ? (c > 0) - (c < 0) : (a->as.text.n > b->as.text.n) - (a->as.text.n < b->as.text.n);
        return PUMICE_OK;
    }
    if (a->type == TPL_LIST && b->type == TPL_LIST) {
        size_t n = PUM_MIN(a->as.list->count, b->as.list->count);
        for (size_t i = 0; i < n; i++) {
            PUM_TRY(tpl_step(s));
            if (tpl_equal(&a->as.list->items[i], &b->as.list->items[i])) continue;
            return tpl_order(s, &a->as.list->items[i], &b->as.list->items[i], out);
        }
        *out = (a->as.list->count > b->as.list->count) - (a->as.list->count < b->as.list->count);
        return PUMICE_OK;
    }
    return tpl_fail(s, "%s and %s cannot be ordered", tpl_type_name(a), tpl_type_name(b));
}

/* ---- shown ---- */

/* The shortest decimal that reads back as the same number, as Python prints it. */
static void print_real(double r, pum_text *out)
{
    char text[40];
    if (r != r || r - r != 0) {
        pum_text_printf(out, "%s", r != r ? "nan" : r > 0 ? "inf" : "-inf");
        return;
    }
    int digits = 1;
    do snprintf(text, sizeof text, "%.*e", digits - 1, r);
    while (strtod(text, NULL) != r && ++digits <= 17);
    const char *e = strchr(text, 'e');
    int exponent = e ? atoi(e + 1) : 0;
    if (exponent >= -4 && exponent < 16) {
        snprintf(text, sizeof text, "%.*f", digits - 1 > exponent ? digits - 1 - exponent : 1, r);
        pum_text_printf(out, "%s", text);
    } else {
        pum_text_printf(out, "%s", text);
    }
}

static void print_quoted(const char *s, size_t n, pum_text *out)
{
    char quote = memchr(s, '\'', n) && !memchr(s, '"', n) ? '"' : '\'';
    pum_text_add(out, &quote, 1);
    for (size_t i = 0; i < n; i++) {
        char c = s[i];
        if (c == '\n') pum_text_add(out, "\\n", 2);
        else if (c == '\t') pum_text_add(out, "\\t", 2);
        else if (c == '\r') pum_text_add(out, "\\r", 2);
        else if (c == '\\' || c == quote) pum_text_add(out, (char[]){ '\\', c }, 2);
        else if ((uint8_t)c < 0x20 || c == 0x7f) pum_text_printf(out, "\\x%02x", (uint8_t)c);
        else pum_text_add(out, &c, 1);
    }
    pum_text_add(out, &quote, 1);
}

static pumice_status print_at(tpl_state *s, const tpl_value *v, bool repr, int depth,
                              pum_text *out);

static pumice_status print_members(tpl_state *s, const tpl_value *v, int depth, pum_text *out)
{
    bool dict = v->type == TPL_DICT;
    size_t count = dict ? v->as.dict->count : v->as.list->count;
    pum_text_add(out, dict ? "{" : v->tuple ? "(" : "[", 1);
    for (size_t i = 0; i < count; i++) {
        PUM_TRY(tpl_step(s));
        if (i) pum_text_add(out, ", ", 2);
        if (dict) {
            PUM_TRY(print_at(s, &v->as.dict->keys[i], true, depth + 1, out));
            pum_text_add(out, ": ", 2);
        }
        PUM_TRY(print_at(s, dict ? &v->as.dict->values[i] : &v->as.list->items[i], true, depth + 1,
                         out));
    }
    if (v->tuple && count == 1) pum_text_add(out, ",", 1);
    pum_text_add(out, dict ? "}" : v->tuple ? ")" : "]", 1);
    return PUMICE_OK;
}

static pumice_status print_at(tpl_state *s, const tpl_value *v, bool repr, int depth, pum_text *out)
{
    if (depth > 32 || out->count > (size_t)64 << 20) return tpl_fail(s, "a value is too large to show");
    switch (v->type) {
    case TPL_UNDEFINED:
        if (repr) pum_text_printf(out, "Undefined");
        break;
    case TPL_NONE:
        pum_text_printf(out, "None");
        break;
    case TPL_BOOL:
        pum_text_printf(out, v->as.flag ? "True" : "False");
        break;
    case TPL_INTEGER:
        pum_text_printf(out, "%lld", (long long)v->as.integer);
        break;
    case TPL_REAL:
        print_real(v->as.real, out);
        break;
    case TPL_TEXT:
        if (repr) print_quoted(v->as.text.s, v->as.text.n, out);
        else pum_text_add(out, v->as.text.s, v->as.text.n);
        break;
    case TPL_LIST:
    case TPL_DICT:
        return print_members(s, v, depth, out);
    default:
        pum_text_printf(out, "<%s>", tpl_type_name(v));
    }
    return PUMICE_OK;
}

pumice_status tpl_print(tpl_state *s, const tpl_value *v, bool repr, pum_text *out)
{
    return print_at(s, v, repr, 0, out);
}

pumice_status tpl_string_of(tpl_state *s, const tpl_value *v, tpl_value *out)
{
    if (v->type == TPL_TEXT) {
        *out = *v;
        return PUMICE_OK;
    }
    pum_text text = { 0 };
    pumice_status status = tpl_print(s, v, false, &text);
    if (status == PUMICE_OK) return tpl_take(s, &text, out);
    pum_text_free(&text);
    return status;
}

/* ---- JSON ---- */

static void json_quoted(const char *s, size_t n, bool ascii, pum_text *out)
{
    pum_text_add(out, "\"", 1);
    for (size_t i = 0; i < n;) {
        uint8_t c = (uint8_t)s[i];
        int length = c < 0x80 ? 1 : pum_utf8_length(s + i, n - i);
        size_t step = length > 0 ? (size_t)length : 1;
        if (c == '"' || c == '\\') pum_text_add(out, (char[]){ '\\', (char)c }, 2);
        else if (c == '\n') pum_text_add(out, "\\n", 2);
        else if (c == '\r') pum_text_add(out, "\\r", 2);
        else if (c == '\t') pum_text_add(out, "\\t", 2);
        else if (c == '\b') pum_text_add(out, "\\b", 2);
        else if (c == '\f') pum_text_add(out, "\\f", 2);
        else if (c < 0x20) pum_text_printf(out, "\\u%04x", c);
        else if (!ascii || c < 0x80) pum_text_add(out, s + i, step);
        else {
            uint32_t p = step == 2 ? c & 0x1f : step == 3 ? c & 0x0f : c & 0x07;
            for (size_t k = 1; k < step; k++) p = p << 6 | ((uint8_t)s[i + k] & 0x3f);
            if (p >= 0x10000) {
                pum_text_printf(out, "\\u%04x\\u%04x", 0xd800 + ((p - 0x10000) >> 10),
                                0xdc00 + (p & 0x3ff));
            } else {
                pum_text_printf(out, "\\u%04x", p);
            }
        }
        i += step;
    }
    pum_text_add(out, "\"", 1);
}

static void json_line(const tpl_json_style *style, int level, pum_text *out)
{
    if (style->indent < 0) return;
    pum_text_add(out, "\n", 1);
    for (int i = 0; i < style->indent * level; i++) pum_text_add(out, " ", 1);
}

static pumice_status json_members(tpl_state *s, const tpl_value *v, const tpl_json_style *style,
                                  int level, pum_text *out)
{
    bool dict = v->type != TPL_LIST;
    size_t count = dict ? v->as.dict->count : v->as.list->count;
    pum_text_add(out, dict ? "{" : "[", 1);
    tpl_value keys;
    if (dict && style->sorted) {
        tpl_args none = { 0 };
        PUM_TRY(tpl_filter(s, "sort", 4, v, &none, &keys));
    }
    for (size_t i = 0; i < count; i++) {
        PUM_TRY(tpl_step(s));
        if (i) pum_text_add(out, style->comma, strlen(style->comma));
        json_line(style, level + 1, out);
        const tpl_value *item = dict ? &v->as.dict->values[i] : &v->as.list->items[i];
        if (dict) {
            const tpl_value *key = style->sorted ? &keys.as.list->items[i] : &v->as.dict->keys[i];
            tpl_value name = { 0 };
            if (style->sorted) item = tpl_get_value(v->as.dict, key);
            PUM_TRY(tpl_string_of(s, key, &name));
            json_quoted(name.as.text.s, name.as.text.n, style->ascii, out);
            pum_text_add(out, style->colon, strlen(style->colon));
        }
        PUM_TRY(tpl_json(s, item, style, level + 1, out));
    }
    if (count) json_line(style, level, out);
    pum_text_add(out, dict ? "}" : "]", 1);
    return PUMICE_OK;
}

pumice_status tpl_json(tpl_state *s, const tpl_value *v, const tpl_json_style *style, int level,
                       pum_text *out)
{
    if (level > 64 || out->count > (size_t)64 << 20)
        return tpl_fail(s, "a value is too large for tojson");
    switch (v->type) {
    case TPL_NONE:
        pum_text_printf(out, "null");
        break;
    case TPL_BOOL:
        pum_text_printf(out, v->as.flag ? "true" : "false");
        break;
    case TPL_TEXT:
        json_quoted(v->as.text.s, v->as.text.n, style->ascii, out);
        break;
    case TPL_INTEGER:
    case TPL_REAL:
        return tpl_print(s, v, false, out);
    case TPL_LIST:
    case TPL_DICT:
        return json_members(s, v, style, level, out);
    default:
        return tpl_fail(s, "tojson cannot show %s", tpl_type_name(v));
    }
    return PUMICE_OK;
}

static pumice_status from_json_at(tpl_state *s, const json_t *json, int depth, tpl_value *out)
{
    *out = tpl_none();
    if (depth > 64) return tpl_fail(s, "its variables are nested too deeply");
    PUM_TRY(tpl_step(s));
    switch (json_typeof(json)) {
    case JSON_STRING:
        return tpl_text(s, json_string_value(json), json_string_length(json), out);
    case JSON_INTEGER:
        *out = tpl_int(json_integer_value(json));
        break;
    case JSON_REAL:
        *out = tpl_real(json_real_value(json));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        *out = tpl_bool(json_is_true(json));
        break;
    case JSON_ARRAY:
        PUM_TRY(tpl_new_list(s, out));
        for (size_t i = 0; i < json_array_size(json); i++) {
            tpl_value item;
            PUM_TRY(from_json_at(s, json_array_get(json, i), depth + 1, &item));
            PUM_TRY(tpl_push(s, out->as.list, item));
        }
        break;
    case JSON_OBJECT: {
        json_t *object = (json_t *)(uintptr_t)json; /* jansson iterates over what is not const */
        PUM_TRY(tpl_new_dict(s, out));
        for (void *i = json_object_iter(object); i; i = json_object_iter_next(object, i)) {
            tpl_value key, item;
            PUM_TRY(tpl_text(s, json_object_iter_key(i), json_object_iter_key_len(i), &key));
            PUM_TRY(from_json_at(s, json_object_iter_value(i), depth + 1, &item));
            PUM_TRY(tpl_put(s, out->as.dict, key, item));
        }
        break;
    }
    default:
        break;
    }
    return PUMICE_OK;
}

pumice_status tpl_from_json(tpl_state *s, const json_t *json, tpl_value *out)
{
    return from_json_at(s, json, 0, out);
}

/* ---- characters, items ---- */

size_t tpl_chars(const char *s, size_t bytes)
{
    size_t n = 0;
    for (size_t i = 0; i < bytes; i++) n += ((uint8_t)s[i] & 0xc0) != 0x80;
    return n;
}

size_t tpl_char_at(const char *s, size_t bytes, size_t i)
{
    size_t at = 0;
    for (; at < bytes; at++) {
        if (((uint8_t)s[at] & 0xc0) == 0x80) continue;
        if (i-- == 0) break;
    }
    return at;
}

pumice_status tpl_items(tpl_state *s, const tpl_value *v, tpl_value *out_list)
{
    if (v->type == TPL_LIST) {
        *out_list = *v;
        return PUMICE_OK;
    }
    PUM_TRY(tpl_new_list(s, out_list));
    if (v->type == TPL_UNDEFINED) return PUMICE_OK;
    if (v->type == TPL_DICT) {
        for (size_t i = 0; i < v->as.dict->count; i++)
            PUM_TRY(tpl_push(s, out_list->as.list, v->as.dict->keys[i]));
        return PUMICE_OK;
    }
    if (v->type != TPL_TEXT) return tpl_fail(s, "%s has no items to go over", tpl_type_name(v));
    const char *text = v->as.text.s;
    for (size_t i = 0, n; i < v->as.text.n; i += n) {
        int length = pum_utf8_length(text + i, v->as.text.n - i);
        n = length > 0 ? (size_t)length : 1;
        tpl_value c = { .type = TPL_TEXT, .as.text = { text + i, n } };
        PUM_TRY(tpl_push(s, out_list->as.list, c));
    }
    return PUMICE_OK;
}

static bool has_text(const char *s, size_t n, const char *what, size_t m)
{
    for (size_t i = 0; i + m <= n; i++) {
        if (m == 0 || memcmp(s + i, what, m) == 0) return true;
    }
    return false;
}

pumice_status tpl_contains(tpl_state *s, const tpl_value *box, const tpl_value *item, bool *out)
{
    *out = false;
    switch (box->type) {
    case TPL_UNDEFINED:
        return PUMICE_OK;
    case TPL_DICT:
    case TPL_SPACE:
        *out = tpl_get_value(box->as.dict, item) != NULL;
        return PUMICE_OK;
    case TPL_LIST:
        for (size_t i = 0; i < box->as.list->count && !*out; i++)
            *out = tpl_equal(&box->as.list->items[i], item);
        return PUMICE_OK;
    case TPL_TEXT:
        if (item->type != TPL_TEXT)
            return tpl_fail(s, "'in' asks for %s in a string", tpl_type_name(item));
        *out = has_text(box->as.text.s, box->as.text.n, item->as.text.s, item->as.text.n);
        return PUMICE_OK;
    default:
        return tpl_fail(s, "'in' asks for something in %s", tpl_type_name(box));
    }
}
