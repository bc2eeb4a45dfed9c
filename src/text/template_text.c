/* SPDX-License-Identifier: Apache-2.0
 * Strings of templates: Python's methods that filters and methods share. Upper and lower case go
 * by character (utf8proc). */
#include "template_impl.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <utf8proc.h>

static size_t char_bytes(const char *s, size_t left)
{
    int n = pum_utf8_length(s, left);
    return n > 0 ? (size_t)n : 1;
}

static bool is_white(const char *s, size_t n)
{
    if (n == 1) return *s == ' ' || (*s >= '\t' && *s <= '\r') || (*s >= 0x1c && *s <= 0x1f);
    utf8proc_int32_t c;
    if (utf8proc_iterate((const utf8proc_uint8_t *)s, (utf8proc_ssize_t)n, &c) <= 0) return false;
    return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 ||
           c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

/* Is the character one to strip: white space, or one of `chars`? */
static bool strips(const char *s, size_t n, const tpl_value *chars)
{
    if (!chars || chars->type != TPL_TEXT) return is_white(s, n);
    for (size_t i = 0; i < chars->as.text.n;) {
        size_t m = char_bytes(chars->as.text.s + i, chars->as.text.n - i);
        if (m == n && memcmp(chars->as.text.s + i, s, n) == 0) return true;
        i += m;
    }
    return false;
}

pumice_status tpl_strip(tpl_state *s, const tpl_value *v, const tpl_value *chars, bool left,
                        bool right, tpl_value *out)
{
    PUM_TRY(tpl_string_of(s, v, out));
    const char *text = out->as.text.s;
    size_t from = 0, to = out->as.text.n;
    while (left && from < to) {
        size_t n = char_bytes(text + from, to - from);
        if (!strips(text + from, n, chars)) break;
        from += n;
    }
    while (right && to > from) {
        size_t last = to - 1;
        while (last > from && ((uint8_t)text[last] & 0xc0) == 0x80) last--;
        if (!strips(text + last, to - last, chars)) break;
        to = last;
    }
    out->as.text.s = text + from;
    out->as.text.n = to - from;
    return PUMICE_OK;
}

static bool is_letter(utf8proc_int32_t c)
{
    utf8proc_category_t g = utf8proc_category(c);
    return g >= UTF8PROC_CATEGORY_LU && g <= UTF8PROC_CATEGORY_LO;
}

/* mode: 'u'pper, 'l'ower, 'c'apitalize, 't'itle (str.title), 'T'itle (the filter: after blanks and
 * punctuation of its own list). */
pumice_status tpl_case(tpl_state *s, const tpl_value *v, char mode, tpl_value *out)
{
    tpl_value text;
    pum_text to = { 0 };
    bool begin = true;
    PUM_TRY(tpl_string_of(s, v, &text));
    pum_text_add(&to, "", 0);
    for (size_t i = 0; i < text.as.text.n;) {
        size_t n = char_bytes(text.as.text.s + i, text.as.text.n - i);
        utf8proc_int32_t c;
        utf8proc_uint8_t bytes[4];
        if (utf8proc_iterate((const utf8proc_uint8_t *)text.as.text.s + i, (utf8proc_ssize_t)n,
                             &c) <= 0) {
            pum_text_add(&to, text.as.text.s + i, n);
            i += n;
            continue;
        }
        bool up = mode == 'u' || (mode != 'l' && begin);
        utf8proc_int32_t d = up ? utf8proc_toupper(c) : utf8proc_tolower(c);
        utf8proc_ssize_t m = utf8proc_encode_char(d, bytes);
        pum_text_add(&to, (const char *)bytes, (size_t)m);
        if (mode == 'c') begin = false;
        else if (mode == 't') begin = !is_letter(c);
        else begin = c == '-' || c == '(' || c == '{' || c == '[' || c == '<' ||
                     is_white(text.as.text.s + i, n);
        i += n;
    }
    return tpl_take(s, &to, out);
}

static pumice_status need_text(tpl_state *s, const tpl_value *v, const char *what)
{
    if (v && v->type == TPL_TEXT) return PUMICE_OK;
    return tpl_fail(s, "%s needs a string, not %s", what, v ? tpl_type_name(v) : "nothing");
}

pumice_status tpl_replace(tpl_state *s, const tpl_value *v, const tpl_value *from,
                          const tpl_value *to, int64_t limit, tpl_value *out)
{
    tpl_value text, by;
    pum_text result = { 0 };
    PUM_TRY(need_text(s, from, "replace"));
    if (!to) return tpl_fail(s, "replace needs two strings");
    PUM_TRY(tpl_string_of(s, v, &text));
    PUM_TRY(tpl_string_of(s, to, &by));
    const char *p = text.as.text.s;
    size_t n = text.as.text.n, m = from->as.text.n, last = 0;
    for (size_t i = 0; i + m <= n && limit != 0;) {
        if (m && memcmp(p + i, from->as.text.s, m) != 0) {
            i++;
            continue;
        }
        PUM_TRY(tpl_step(s));
        pum_text_add(&result, p + last, i - last);
        pum_text_add(&result, by.as.text.s, by.as.text.n);
        last = i + m;
        i = m ? last : i + 1;
        if (limit > 0) limit--;
        if (result.count > (size_t)64 << 20) {
            pum_text_free(&result);
            return tpl_fail(s, "a text is too long");
        }
    }
    pum_text_add(&result, p + last, n - last);
    return tpl_take(s, &result, out);
}

static pumice_status push_part(tpl_state *s, tpl_list *list, const char *p, size_t n)
{
    return tpl_push(s, list, (tpl_value){ .type = TPL_TEXT, .as.text = { p, n } });
}

/* Python's split(): at `sep`, or at runs of white space; at most `limit` cuts (< 0: any). */
pumice_status tpl_split(tpl_state *s, const tpl_value *v, const tpl_value *sep, int64_t limit,
                        tpl_value *out)
{
    PUM_TRY(tpl_new_list(s, out));
    const char *p = v->as.text.s;
    size_t n = v->as.text.n, last = 0, i = 0;
    if (sep && sep->type == TPL_TEXT) {
        size_t m = sep->as.text.n;
        if (m == 0) return tpl_fail(s, "split has an empty separator");
        while (i + m <= n && limit != 0) {
            if (memcmp(p + i, sep->as.text.s, m) != 0) {
                i++;
                continue;
            }
            PUM_TRY(push_part(s, out->as.list, p + last, i - last));
            last = i += m;
            if (limit > 0) limit--;
        }
        return push_part(s, out->as.list, p + last, n - last);
    }
    while (i < n) {
        while (i < n && is_white(p + i, char_bytes(p + i, n - i))) i += char_bytes(p + i, n - i);
        if (i == n) break;
        last = i;
        if (limit == 0) {
            size_t end = n;
            while (end > last && is_white(p + end - 1, 1)) end--;
            return push_part(s, out->as.list, p + last, end - last);
        }
        while (i < n && !is_white(p + i, char_bytes(p + i, n - i))) i += char_bytes(p + i, n - i);
        PUM_TRY(push_part(s, out->as.list, p + last, i - last));
        if (limit > 0) limit--;
    }
    return PUMICE_OK;
}

pumice_status tpl_join(tpl_state *s, const tpl_value *list, const tpl_value *sep, tpl_value *out)
{
    tpl_value items, between = tpl_literal("");
    pum_text text = { 0 };
    pumice_status status = PUMICE_OK;
    PUM_TRY(tpl_items(s, list, &items));
    if (sep) PUM_TRY(tpl_string_of(s, sep, &between));
    for (size_t i = 0; i < items.as.list->count && status == PUMICE_OK; i++) {
        if (i) pum_text_add(&text, between.as.text.s, between.as.text.n);
        status = tpl_print(s, &items.as.list->items[i], false, &text);
    }
    if (status == PUMICE_OK) return tpl_take(s, &text, out);
    pum_text_free(&text);
    return status;
}

pumice_status tpl_strftime(tpl_state *s, const tpl_value *format, tpl_value *out)
{
    char pattern[128], text[512];
    time_t now = (time_t)s->now;
    struct tm parts;
    PUM_TRY(need_text(s, format, "strftime_now"));
    if (format->as.text.n >= sizeof pattern) return tpl_fail(s, "strftime_now's format is too long");
    memcpy(pattern, format->as.text.s, format->as.text.n);
    pattern[format->as.text.n] = '\0';
    if (!gmtime_r(&now, &parts)) return tpl_fail(s, "the time cannot be told");
    size_t n = strftime(text, sizeof text, pattern, &parts);
    return tpl_text(s, text, n, out);
}

/* "..." % values: %s, %d and %%. */
pumice_status tpl_format(tpl_state *s, const tpl_value *format, const tpl_value *args,
                         tpl_value *out)
{
    pum_text text = { 0 };
    const char *p = format->as.text.s;
    size_t n = format->as.text.n, used = 0;
    bool many = args->type == TPL_LIST && args->tuple;
    size_t count = many ? args->as.list->count : 1;
    pumice_status status = PUMICE_OK;
    for (size_t i = 0; i < n && status == PUMICE_OK; i++) {
        if (p[i] != '%') {
            pum_text_add(&text, p + i, 1);
            continue;
        }
        char kind = ++i < n ? p[i] : '\0';
        if (kind == '%') {
            pum_text_add(&text, "%", 1);
        } else if ((kind == 's' || kind == 'd' || kind == 'i') && used < count) {
            status = tpl_print(s, many ? &args->as.list->items[used] : args, false, &text);
            used++;
        } else {
            status = tpl_fail(s, "a string's %%-format is not supported or lacks a value");
        }
    }
    if (status == PUMICE_OK) return tpl_take(s, &text, out);
    pum_text_free(&text);
    return status;
}
