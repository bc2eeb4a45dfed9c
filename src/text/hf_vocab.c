/* SPDX-License-Identifier: Apache-2.0
 * The older kinds of files: merges.txt beside vocab.json (GPT-2), and tiktoken's lines of base64
 * (GLM-4), where any two neighbours that make up a token may be joined, the lowest rank first. */
#include "hf.h"

#include <string.h>

typedef struct text_lines {
    const char *at, *end;
} text_lines;

static bool next_line(text_lines *lines, pum_str *out)
{
    if (lines->at >= lines->end) return false;
    const char *stop = memchr(lines->at, '\n', (size_t)(lines->end - lines->at));
    if (!stop) stop = lines->end;
    size_t n = (size_t)(stop - lines->at);
    *out = (pum_str){ lines->at, n && lines->at[n - 1] == '\r' ? n - 1 : n };
    lines->at = stop < lines->end ? stop + 1 : stop;
    return true;
}

static bool next_merge(void *user, pum_str *out_left, pum_str *out_right)
{
    pum_str line;
    if (!next_line(user, &line)) return false;
    pum_merge_of_line(line, true, out_left, out_right);
    return true;
}

pumice_status pum_hf_merges_index(const char *text, size_t bytes, pum_tokenizer *t,
                                  pumice_error *err)
{
    static const char version[] = "#version";
    text_lines lines = { text, text + bytes };
    pum_str line;
    pum_merge_list list = { "the merges", 1, &lines, next_merge, true };
    if (bytes >= sizeof version - 1 && memcmp(text, version, sizeof version - 1) == 0)
        next_line(&lines, &line);
    for (const char *p = lines.at; p < lines.end; p++) list.count += *p == '\n';
    return pum_bpe_index(t, &list, err);
}

/* ---- tiktoken ---- */

static pumice_status bad_line(pumice_error *err, uint64_t number)
{
    if (number == 1) {
        return pum_fail(err, PUMICE_ERROR_FORMAT,
                        "neither a SentencePiece model nor tiktoken's lines (base64 and rank): "
                        "copy the whole file anew");
    }
    return pum_fail(err, PUMICE_ERROR_FORMAT,
                    "line %llu is not a token in base64 and its rank, as those before it are: copy "
                    "the whole file anew",
                    (unsigned long long)number);
}

pumice_status pum_tiktoken_read(const char *text, size_t bytes, pum_tokenizer *t, pumice_error *err)
{
    text_lines lines = { text, text + bytes };
    pum_text raw = { 0 }, spelled = { 0 };
    pum_str line;
    pumice_status status = PUMICE_OK;
    t->kind = PUM_TOKENIZER_BPE;
    t->merge_any = true;
    while (next_line(&lines, &line)) {
        const char *blank = line.count ? memchr(line.data, ' ', line.count) : NULL;
        uint64_t rank = 0;
        bool good = blank && blank + 1 < line.data + line.count;
        for (const char *p = blank; good && ++p < line.data + line.count;) {
            good = *p >= '0' && *p <= '9' && rank < PUM_MAX_TOKENS;
            rank = rank * 10 + (uint64_t)(*p - '0');
        }
        if (line.count == 0 && lines.at == lines.end) break;
        raw.count = spelled.count = 0;
        /* Ranks are ids, in order: so it is in all files known. */
        if (!good || rank != t->count ||
            !pum_base64(line.data, (size_t)(blank - line.data), &raw) || raw.count == 0) {
            PUM_GOTO(bad_line(err, (uint64_t)t->count + 1));
        }
        pum_bpe_spell(raw.data, raw.count, &spelled);
        if (raw.failed || spelled.failed ||
            !pum_strings_add(&t->pieces, spelled.data, spelled.count)) {
            PUM_GOTO(pum_no_memory(err));
        }
        t->count++;
    }
    if (t->count == 0) PUM_GOTO(bad_line(err, 1));
    PUM_GOTO(pum_tokenizer_allocate(t, err));
fail:
    pum_text_free(&raw);
    pum_text_free(&spelled);
    return status;
}

static bool no_merge(void *user, pum_str *out_left, pum_str *out_right)
{
    (void)user;
    *out_left = *out_right = (pum_str){ 0 };
    return false;
}

pumice_status pum_tiktoken_index(pum_tokenizer *t, pumice_error *err)
{
    pum_merge_list none = { .name = "the list", .next = no_merge };
    return pum_bpe_index(t, &none, err);
}
