/* SPDX-License-Identifier: Apache-2.0
 * Error text and log lines. The first fault of a call is the one reported. */
#include "base.h"

#include <stdio.h>
#include <string.h>

static void cut_to_utf8(char *text)
{
    size_t n = strlen(text), i = 0;
    while (i < n) {
        int len = pum_utf8_length(text + i, n - i);
        if (len < 0) {
            text[i] = '\0';
            return;
        }
        if (len == 0) text[i] = '?';
        i += len > 0 ? (size_t)len : 1;
    }
}

pumice_status pum_fail(pumice_error *err, pumice_status status, const char *fmt, ...)
{
    if (!err || err->status != PUMICE_OK) return status;
    va_list args;
    va_start(args, fmt);
    vsnprintf(err->text, sizeof err->text, fmt, args);
    va_end(args);
    cut_to_utf8(err->text);
    err->status = status;
    return status;
}

pumice_status pum_error_place(pumice_error *err, pumice_status status, const char *place)
{
    enum { MAX_PLACE_BYTES = 240 };
    bool content = status == PUMICE_ERROR_FORMAT || status == PUMICE_ERROR_UNSUPPORTED;
    if (!content || !err || err->status != status) return status;
    char before[MAX_PLACE_BYTES + 8];
    size_t n = strlen(place), room = sizeof err->text - 1;
    if (n > MAX_PLACE_BYTES) place += n - MAX_PLACE_BYTES;
    snprintf(before, sizeof before, "%s%s: ", n > MAX_PLACE_BYTES ? "..." : "", place);
    n = strlen(before);
    size_t keep = PUM_MIN(strlen(err->text), room - n);
    memmove(err->text + n, err->text, keep);
    memcpy(err->text, before, n);
    err->text[n + keep] = '\0';
    cut_to_utf8(err->text);
    return status;
}

void pum_error_clear(pumice_error *err)
{
    if (err) *err = (pumice_error){ 0 };
}

void pum_log_write(const pum_log *log, pumice_log_level level, const char *fmt, ...)
{
    if (!log || !log->fn) return;
    char line[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    cut_to_utf8(line);
    log->fn(log->user, level, line);
}
