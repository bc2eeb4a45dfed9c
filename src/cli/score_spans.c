/* SPDX-License-Identifier: Apache-2.0
 * Spans taken out of a text for a model that restores them (T5). Which ones is decided by a seed:
 * the same text and seed give the same spans. Pure. */
#include "score.h"

#include <stdlib.h>

enum { NOISE_PERCENT = 15, SPAN_TOKENS = 3 };

static size_t noise_tokens(size_t count)
{
    size_t noise = (count * NOISE_PERCENT + 50) / 100;
    return noise < 1 ? 1 : noise > count - 1 ? count - 1 : noise;
}

size_t cli_spans_number(size_t count)
{
    size_t noise = noise_tokens(count), spans = (noise + SPAN_TOKENS / 2) / SPAN_TOKENS;
    if (spans > count - noise) spans = count - noise; /* kept tokens stand before each */
    return spans < 1 ? 1 : spans;
}

/* Cuts `total` into `parts` lengths of at least 1, each cut as likely as any other. */
static void cut(size_t total, size_t parts, uint64_t *seed, size_t *out_lengths)
{
    for (size_t i = 0; i < parts; i++) out_lengths[i] = 0;
    size_t open = parts - 1, part = 0; /* cuts that are still to be made */
    for (size_t i = 0; i < total; i++) {
        out_lengths[part]++;
        size_t places = total - 1 - i;
        if (open && cli_random(seed) % places < open) {
            part++;
            open--;
        }
    }
}

/* The text alternates: kept, span, kept, span ... and ends with a span. */
static bool write_spans(const int32_t *tokens, const size_t *kept, const size_t *taken,
                        size_t spans, const int32_t *sentinels, cli_list *input, cli_list *labels)
{
    bool fine = true;
    for (size_t s = 0; s < spans; s++) {
        for (size_t i = 0; i < kept[s]; i++) fine = fine && cli_list_add(input, *tokens++);
        fine = fine && cli_list_add(input, sentinels[s]) && cli_list_add(labels, sentinels[s]);
        for (size_t i = 0; i < taken[s]; i++) fine = fine && cli_list_add(labels, *tokens++);
    }
    return fine && cli_list_add(labels, sentinels[spans]);
}

int cli_spans(const int32_t *tokens, size_t count, const int32_t *sentinels, size_t n_sentinels,
              uint64_t *seed, cli_list *input, cli_list *labels)
{
    size_t noise = noise_tokens(count), spans = cli_spans_number(count);
    if (spans >= n_sentinels) {
        return cli_fail("%zu spans need as many sentinels and one, but there are %zu", spans,
                        n_sentinels);
    }
    size_t *lengths = calloc(2 * spans, sizeof *lengths);
    if (!lengths) return cli_no_memory();
    cut(count - noise, spans, seed, lengths);
    cut(noise, spans, seed, lengths + spans);
    bool fine = write_spans(tokens, lengths, lengths + spans, spans, sentinels, input, labels);
    free(lengths);
    return fine ? CLI_OK : cli_no_memory();
}
