/* SPDX-License-Identifier: Apache-2.0
 * Tokens to text while they come: a token may end within a UTF-8 sequence, which is held back until
 * the rest is there. Whatever can never become valid turns into U+FFFD, one for each longest
 * beginning of a sequence (Unicode, chapter 3, "U+FFFD Substitution of Maximal Subparts"). */
#include "tokenizer_impl.h"

#include <string.h>

#define REPLACEMENT "\xef\xbf\xbd"

/* Bytes at s that begin a sequence but cannot go on: at least 1. */
static size_t bad_length(const char *s, size_t count)
{
    size_t n = PUM_MIN(count, (size_t)3);
    while (n > 1 && pum_utf8_length(s, n) != -1) n--;
    return n;
}

/* Appends what is whole of s and replaces what is bad; returns how many bytes at the end are still
 * open. */
static size_t add_whole(const char *s, size_t count, pum_text *out)
{
    for (size_t i = 0; i < count;) {
        int n = pum_utf8_length(s + i, count - i);
        if (n < 0) return count - i;
        if (n > 0) {
            pum_text_add(out, s + i, (size_t)n);
            i += (size_t)n;
        } else {
            pum_text_add(out, REPLACEMENT, 3);
            i += bad_length(s + i, count - i);
        }
    }
    return 0;
}

pumice_status pum_text_stream_push(pum_text_stream *s, const pum_tokenizer *t, int32_t token,
                                   pum_text *out)
{
    pum_text raw = { 0 };
    pum_text_add(&raw, s->held, s->n_held);
    bool first = !s->started;
    pumice_status status = pum_tokenizer_decode(t, token, &first, false, &raw);
    if (status == PUMICE_OK) {
        size_t open = add_whole(raw.data, raw.count, out);
        memcpy(s->held, raw.data + raw.count - open, open);
        s->n_held = (uint32_t)open;
        s->started = !first;
        if (out->failed) status = PUMICE_ERROR_HOST_MEMORY;
    }
    pum_text_free(&raw);
    return status;
}

pumice_status pum_text_stream_finish(pum_text_stream *s, pum_text *out)
{
    if (s->n_held) pum_text_add(out, REPLACEMENT, 3);
    *s = (pum_text_stream){ 0 };
    return out->failed ? PUMICE_ERROR_HOST_MEMORY : PUMICE_OK;
}
