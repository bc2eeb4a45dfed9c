/* SPDX-License-Identifier: Apache-2.0
 * Template text to tokens. Blanks around blocks go as with trim_blocks and lstrip_blocks: the
 * newline after a block or comment, and the blanks before one that begins its line. '-' strips all
 * white space on its side, '+' keeps it. A newline at the very end of the template is dropped. */
#include "template_impl.h"

#include <stdlib.h>
#include <string.h>

typedef struct lexer {
    const char *s;
    size_t bytes, at;
    uint32_t line;
    bool trim_next; /* '-' stood at the end of the tag before */
    pum_arena *arena;
    tpl_tokens *out;
    pumice_error *err;
} lexer;

static pumice_status fail_at(lexer *l, const char *what)
{
    return pum_fail(l->err, PUMICE_ERROR_FORMAT, "chat template, line %u: %s", l->line, what);
}

static pumice_status no_memory(pumice_error *err)
{
    return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory for the chat template");
}

static pumice_status push(lexer *l, tpl_token t)
{
    t.line = l->line;
    return pum_array_push(l->out, t) ? PUMICE_OK : no_memory(l->err);
}

static bool at_text(const lexer *l, size_t i, const char *what)
{
    size_t n = strlen(what);
    return l->bytes - i >= n && memcmp(l->s + i, what, n) == 0;
}

static bool is_white(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static void count_lines(lexer *l, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) l->line += l->s[i] == '\n';
}

/* ---- between tags ---- */

/* Where the next tag begins, else the end. */
static size_t find_tag(const lexer *l)
{
    for (size_t i = l->at; i + 1 < l->bytes; i++) {
        if (l->s[i] == '{' && (l->s[i + 1] == '{' || l->s[i + 1] == '%' || l->s[i + 1] == '#'))
            return i;
    }
    return l->bytes;
}

/* The text before a tag at `tag`, without the blanks that the tag takes. */
static pumice_status push_data(lexer *l, size_t tag)
{
    size_t from = l->at, to = tag;
    while (l->trim_next && from < to && is_white(l->s[from])) from++;
    char sign = tag + 2 < l->bytes ? l->s[tag + 2] : '\0';
    if (tag < l->bytes && sign == '-') {
        while (to > from && is_white(l->s[to - 1])) to--;
    } else if (tag < l->bytes && l->s[tag + 1] != '{' && sign != '+') {
        size_t start = to;
        while (start > from && (l->s[start - 1] == ' ' || l->s[start - 1] == '\t')) start--;
        /* only blanks since the line began (a tag before them on the line keeps them) */
        if (start > from ? l->s[start - 1] == '\n' : from == 0 || l->s[from - 1] == '\n') to = start;
    }
    l->trim_next = false;
    tpl_token t = { .kind = TPL_DATA, .text = l->s + from, .bytes = to - from };
    pumice_status status = to > from ? push(l, t) : PUMICE_OK;
    count_lines(l, l->at, tag);
    l->at = tag;
    return status;
}

/* After a tag's end at l->at: '-' was there, or the newline goes. */
static void after_tag(lexer *l, bool minus, bool plus, bool is_block)
{
    l->trim_next = minus;
    if (!minus && !plus && is_block && l->at < l->bytes && l->s[l->at] == '\n') {
        l->at++;
        l->line++;
    }
}

static pumice_status skip_comment(lexer *l)
{
    size_t end = l->at + 2;
    while (end + 1 < l->bytes && !(l->s[end] == '#' && l->s[end + 1] == '}')) end++;
    if (end + 1 >= l->bytes) return fail_at(l, "a comment {# has no end #}");
    bool minus = end > l->at + 2 && l->s[end - 1] == '-';
    bool plus = end > l->at + 2 && l->s[end - 1] == '+';
    count_lines(l, l->at, end);
    l->at = end + 2;
    after_tag(l, minus, plus, true);
    return PUMICE_OK;
}

/* {% raw %}...{% endraw %} at l->at: *out_done = it was one. */
static pumice_status raw_block(lexer *l, bool *out_done)
{
    size_t i = l->at + 2;
    *out_done = false;
    if (i < l->bytes && (l->s[i] == '-' || l->s[i] == '+')) i++;
    while (i < l->bytes && is_white(l->s[i])) i++;
    if (!at_text(l, i, "raw")) return PUMICE_OK;
    i += 3;
    while (i < l->bytes && is_white(l->s[i])) i++;
    bool minus = i < l->bytes && l->s[i] == '-';
    i += minus;
    if (!at_text(l, i, "%}")) return PUMICE_OK;
    count_lines(l, l->at, i);
    l->at = i + 2;
    after_tag(l, minus, false, true);
    for (size_t end = l->at; end + 1 < l->bytes; end++) {
        if (!at_text(l, end, "{%")) continue;
        size_t k = end + 2;
        if (k < l->bytes && (l->s[k] == '-' || l->s[k] == '+')) k++;
        while (k < l->bytes && is_white(l->s[k])) k++;
        if (!at_text(l, k, "endraw")) continue;
        k += 6;
        while (k < l->bytes && is_white(l->s[k])) k++;
        minus = k < l->bytes && l->s[k] == '-';
        k += minus;
        if (!at_text(l, k, "%}")) continue;
        PUM_TRY(push_data(l, end));
        count_lines(l, end, k);
        l->at = k + 2;
        after_tag(l, minus, false, true);
        *out_done = true;
        return PUMICE_OK;
    }
    return fail_at(l, "{% raw %} has no {% endraw %}");
}

/* ---- inside tags ---- */

static bool is_name_start(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (uint8_t)c >= 0x80;
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static int hex_value(char c)
{
    if (is_digit(c)) return c - '0';
    return (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

static size_t put_utf8(uint32_t c, char *to)
{
    if (c < 0x80) {
        to[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n; i-- > 1; c >>= 6) to[i] = (char)(0x80 | (c & 0x3f));
    to[0] = (char)((0xf00 >> n & 0xff) | c);
    return n;
}

/* \xHH, \uHHHH, \UHHHHHHHH after the letter at l->at; returns the bytes written. */
static size_t number_escape(lexer *l, int digits, char *to)
{
    uint32_t c = 0;
    for (int i = 0; i < digits; i++) {
        int v = l->at < l->bytes ? hex_value(l->s[l->at]) : -1;
        if (v < 0) break;
        c = c << 4 | (uint32_t)v;
        l->at++;
    }
    if (c > 0x10ffff || (c >= 0xd800 && c < 0xe000)) c = 0xfffd;
    return put_utf8(c, to);
}

static pumice_status lex_string(lexer *l)
{
    static const char letters[] = "ntrabfv0\\'\"", meanings[] = "\n\t\r\a\b\f\v\0\\'\"";
    char quote = l->s[l->at++];
    size_t n = 0, end = l->at;
    while (end < l->bytes && l->s[end] != quote) end += l->s[end] == '\\' ? 2 : 1;
    char *to = pum_arena_alloc(l->arena, end - l->at + 8); /* escapes only get shorter */
    if (!to) return no_memory(l->err);
    while (l->at < l->bytes && l->s[l->at] != quote) {
        char c = l->s[l->at++];
        l->line += c == '\n';
        if (c != '\\' || l->at >= l->bytes) {
            to[n++] = c;
            continue;
        }
        c = l->s[l->at++];
        const char *hit = c ? strchr(letters, c) : NULL;
        if (hit) to[n++] = meanings[hit - letters];
        else if (c == 'x') n += number_escape(l, 2, to + n);
        else if (c == 'u') n += number_escape(l, 4, to + n);
        else if (c == 'U') n += number_escape(l, 8, to + n);
        else if (c != '\n') to[n++] = '\\', to[n++] = c;
    }
    if (l->at >= l->bytes) return fail_at(l, "a string has no end");
    l->at++;
    return push(l, (tpl_token){ .kind = TPL_STRING, .text = to, .bytes = n });
}

static pumice_status lex_number(lexer *l)
{
    char text[64];
    size_t n = 0;
    bool real = false;
    while (l->at < l->bytes && n < sizeof text - 1) {
        char c = l->s[l->at];
        bool exponent = (c == 'e' || c == 'E') && n > 0;
        bool sign = (c == '+' || c == '-') && n > 0 && (text[n - 1] | 32) == 'e';
        bool point = c == '.' && l->at + 1 < l->bytes && is_digit(l->s[l->at + 1]) && !real;
        if (c != '_' && !is_digit(c) && !exponent && !sign && !point) break;
        if (exponent || point) real = true;
        if (c != '_') text[n++] = c;
        l->at++;
    }
    text[n] = '\0';
    if (real) return push(l, (tpl_token){ .kind = TPL_FLOAT, .real = strtod(text, NULL) });
    if (n > 18) return fail_at(l, "a number is too large");
    return push(l, (tpl_token){ .kind = TPL_INT, .integer = strtoll(text, NULL, 10) });
}

static pumice_status lex_operator(lexer *l)
{
    static const char *const two[] = { "==", "!=", "<=", ">=", "//", "**" };
    for (size_t i = 0; i < PUM_COUNT(two); i++) {
        if (!at_text(l, l->at, two[i])) continue;
        l->at += 2;
        return push(l, (tpl_token){ .kind = TPL_OP, .text = two[i], .bytes = 2 });
    }
    if (!strchr("+-*/%~<>=()[]{},:.|", l->s[l->at]) || !l->s[l->at])
        return fail_at(l, "a character that no expression has");
    tpl_token t = { .kind = TPL_OP, .text = l->s + l->at, .bytes = 1 };
    l->at++;
    return push(l, t);
}

static pumice_status lex_tag(lexer *l, bool block)
{
    const char *end = block ? "%}" : "}}";
    uint32_t depth = 0; /* of braces: "}}" may end two dicts */
    l->at += 2;
    if (l->at < l->bytes && (l->s[l->at] == '-' || l->s[l->at] == '+')) l->at++;
    PUM_TRY(push(l, (tpl_token){ .kind = block ? TPL_OPEN_BLOCK : TPL_OPEN_VAR }));
    while (l->at < l->bytes) {
        char c = l->s[l->at];
        bool sign = (c == '-' || c == '+') && at_text(l, l->at + 1, end);
        if (depth == 0 && (sign || at_text(l, l->at, end))) {
            PUM_TRY(push(l, (tpl_token){ .kind = block ? TPL_CLOSE_BLOCK : TPL_CLOSE_VAR }));
            l->at += sign ? 3 : 2;
            after_tag(l, sign && c == '-', sign && c == '+', block);
            return PUMICE_OK;
        }
        if (is_white(c)) {
            l->line += c == '\n';
            l->at++;
        } else if (c == '"' || c == '\'') {
            PUM_TRY(lex_string(l));
        } else if (is_digit(c)) {
            PUM_TRY(lex_number(l));
        } else if (is_name_start(c)) {
            tpl_token t = { .kind = TPL_NAME, .text = l->s + l->at };
            while (l->at < l->bytes && (is_name_start(l->s[l->at]) || is_digit(l->s[l->at])))
                l->at++;
            t.bytes = (size_t)(l->s + l->at - t.text);
            PUM_TRY(push(l, t));
        } else {
            depth += c == '{';
            depth -= c == '}' && depth > 0;
            PUM_TRY(lex_operator(l));
        }
    }
    return fail_at(l, block ? "a block {% has no end %}" : "an expression {{ has no end }}");
}

pumice_status tpl_lex(const char *text, size_t bytes, pum_arena *arena, tpl_tokens *out,
                      pumice_error *err)
{
    /* line ends as one character, none at the end */
    char *s = pum_arena_alloc(arena, bytes + 1);
    size_t n = 0;
    if (!s) return no_memory(err);
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] == '\r' && i + 1 < bytes && text[i + 1] == '\n') continue;
        s[n++] = text[i] == '\r' ? '\n' : text[i];
    }
    if (n && s[n - 1] == '\n') n--;
    lexer l = { .s = s, .bytes = n, .line = 1, .arena = arena, .out = out, .err = err };
    while (l.at < l.bytes) {
        bool raw = false;
        PUM_TRY(push_data(&l, find_tag(&l)));
        if (l.at >= l.bytes) break;
        char kind = l.s[l.at + 1];
        if (kind == '%') PUM_TRY(raw_block(&l, &raw));
        if (raw) continue;
        if (kind == '#') PUM_TRY(skip_comment(&l));
        else PUM_TRY(lex_tag(&l, kind == '%'));
    }
    return push(&l, (tpl_token){ .kind = TPL_END });
}
