/* SPDX-License-Identifier: Apache-2.0
 * Bytes in and out: whole files, files that appear complete or not at all, JSON, numbers for
 * people, and text from elsewhere (file names, drivers, models) made safe for a terminal. Decides
 * no content. */
#include "common.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- text ---- */

/* Length of the UTF-8 sequence at s (n bytes are there), 0 if it is not valid. */
static size_t utf8_length(const unsigned char *s, size_t n)
{
    static const struct {
        unsigned char first, last, second_min, second_max, length;
    } rows[] = {
        /* table 3-7 of the Unicode standard */
        { 0x00, 0x7f, 0x00, 0x00, 1 }, { 0xc2, 0xdf, 0x80, 0xbf, 2 }, { 0xe0, 0xe0, 0xa0, 0xbf, 3 },
        { 0xe1, 0xec, 0x80, 0xbf, 3 }, { 0xed, 0xed, 0x80, 0x9f, 3 }, { 0xee, 0xef, 0x80, 0xbf, 3 },
        { 0xf0, 0xf0, 0x90, 0xbf, 4 }, { 0xf1, 0xf3, 0x80, 0xbf, 4 }, { 0xf4, 0xf4, 0x80, 0x8f, 4 },
    };
    for (size_t i = 0; n && i < CLI_COUNT(rows); i++) {
        size_t length = rows[i].length;
        if (s[0] < rows[i].first || s[0] > rows[i].last) continue;
        if (n < length || (length > 1 && (s[1] < rows[i].second_min || s[1] > rows[i].second_max)))
            return 0;
        for (size_t k = 2; k < length; k++) {
            if ((s[k] & 0xc0) != 0x80) return 0;
        }
        return length;
    }
    return 0;
}

void cli_print_plain(FILE *file, const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    for (size_t n = strlen(text); n;) {
        size_t length = utf8_length(s, n);
        bool control = s[0] < 0x20 || s[0] == 0x7f || (s[0] == 0xc2 && length == 2 && s[1] < 0xa0);
        if (!length || control) fputc('?', file);
        else fwrite(s, 1, length, file);
        s += length ? length : 1;
        n -= length ? length : 1;
    }
}

json_t *cli_json_text_n(const char *text, size_t bytes)
{
    json_t *plain = json_stringn(text, bytes); /* refuses what is not UTF-8 */
    if (plain || bytes > SIZE_MAX / 3) return plain;
    char *clean = malloc(bytes * 3 + 1);
    if (!clean) return NULL;
    size_t to = 0;
    for (size_t at = 0; at < bytes;) {
        size_t length = utf8_length((const unsigned char *)text + at, bytes - at);
        memcpy(clean + to, length ? text + at : "\xef\xbf\xbd", length ? length : 3);
        to += length ? length : 3;
        at += length ? length : 1;
    }
    plain = json_stringn(clean, to);
    free(clean);
    return plain;
}

json_t *cli_json_text(const char *text) { return cli_json_text_n(text, strlen(text)); }

json_t *cli_json_tokens(const int32_t *tokens, size_t count)
{
    json_t *array = json_array();
    for (size_t i = 0; array && i < count; i++) {
        if (json_array_append_new(array, json_integer(tokens[i])) != 0) {
            json_decref(array);
            array = NULL;
        }
    }
    return array;
}

int cli_flush(void)
{
    if (fflush(stdout) != 0 || ferror(stdout)) return cli_fail("standard output cannot be written");
    return CLI_OK;
}

int cli_print_json(json_t *value)
{
    if (!value) return cli_no_memory();
    int bad = json_dumpf(value, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(12));
    json_decref(value);
    putchar('\n');
    int code = cli_flush();
    return code != CLI_OK ? code : bad ? cli_no_memory() : CLI_OK;
}

/* ---- numbers ---- */

const char *cli_bytes_text(uint64_t bytes, char *out, size_t capacity)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1024 && unit + 1 < CLI_COUNT(units)) value /= 1024, unit++;
    snprintf(out, capacity, unit ? "%.2f %s" : "%.0f %s", value, units[unit]);
    return out;
}

const char *cli_count_text(uint64_t count, char *out, size_t capacity)
{
    static const char *const units[] = { "", " K", " M", " B", " T" };
    double value = (double)count;
    size_t unit = 0;
    while (value >= 1000 && unit + 1 < CLI_COUNT(units)) value /= 1000, unit++;
    snprintf(out, capacity, unit ? "%.2f%s" : "%.0f%s", value, units[unit]);
    return out;
}

/* ---- files ---- */

int cli_read(const char *path, char **out_data, size_t *out_bytes)
{
    bool is_input = strcmp(path, "-") == 0;
    const char *name = is_input ? "standard input" : path;
    FILE *file = is_input ? stdin : fopen(path, "rb");
    char *data = NULL;
    size_t count = 0, capacity = 0;
    int code = CLI_OK;
    *out_data = NULL;
    *out_bytes = 0;
    if (!file) return cli_fail("'%s' cannot be opened: %s", name, strerror(errno));
    for (size_t got = 1; got;) {
        if (count == capacity) {
            capacity = capacity * 2 + 65536;
            char *larger = realloc(data, capacity);
            if (!larger) {
                code = cli_no_memory();
                goto done;
            }
            data = larger;
        }
        got = fread(data + count, 1, capacity - count, file);
        count += got;
    }
    if (ferror(file)) {
        code = cli_fail("'%s' cannot be read: %s", name, strerror(errno));
        goto done;
    }
    *out_data = data;
    *out_bytes = count;
    data = NULL;
done:
    free(data);
    if (!is_input) fclose(file);
    return code;
}

/* Opens a temporary file beside `path`, its name in `temporary`; NULL with errno otherwise. */
static FILE *open_temporary(const char *path, char *temporary, size_t capacity)
{
    snprintf(temporary, capacity, "%s.XXXXXX", path);
    int fd = mkstemp(temporary);
    if (fd < 0) {
        temporary[0] = '\0';
        return NULL;
    }
    mode_t mask = umask(0); /* mkstemp's 0600 is for secrets; this is a result like any other */
    umask(mask);
    FILE *file = fchmod(fd, 0666 & ~mask) == 0 ? fdopen(fd, "wb") : NULL;
    if (!file) {
        int error = errno;
        close(fd);
        errno = error;
    }
    return file;
}

int cli_output_open(const char *path, cli_output *out_output)
{
    size_t capacity = strlen(path) + 16; /* ".XXXXXX" and its NUL */
    struct stat info;
    *out_output = (cli_output){ .path = strdup(path), .temporary = calloc(1, capacity) };
    if (!out_output->path || !out_output->temporary) {
        cli_output_discard(out_output);
        return cli_no_memory();
    }
    bool replaceable = stat(path, &info) != 0 || S_ISREG(info.st_mode);
    /* a pipe or /dev/null is written to, never replaced */
    out_output->file =
        replaceable ? open_temporary(path, out_output->temporary, capacity) : fopen(path, "wb");
    if (out_output->file) return CLI_OK;
    int code = cli_fail("'%s' cannot be written: %s", path, strerror(errno));
    cli_output_discard(out_output);
    return code;
}

int cli_output_commit(cli_output *output)
{
    int code = CLI_OK;
    bool bad = fflush(output->file) != 0 || ferror(output->file);
    bad = fclose(output->file) != 0 || bad;
    output->file = NULL;
    if (bad || (output->temporary[0] && rename(output->temporary, output->path) != 0)) {
        code = cli_fail("'%s' cannot be written: %s", output->path, strerror(errno));
    } else {
        output->temporary[0] = '\0';
    }
    cli_output_discard(output);
    return code;
}

void cli_output_discard(cli_output *output)
{
    if (output->file) fclose(output->file);
    if (output->temporary && output->temporary[0]) unlink(output->temporary);
    free(output->temporary);
    free(output->path);
    *output = (cli_output){ 0 };
}
