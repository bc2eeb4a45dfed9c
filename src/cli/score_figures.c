/* SPDX-License-Identifier: Apache-2.0
 * The arithmetic of pumice score: means and their standard errors, what a multiple-choice question
 * is worth, how a text is cut into overlapping windows. Pure. */
#include "score.h"

#include <math.h>

void cli_mean_add(cli_mean *m, double value)
{
    double before = value - m->mean;
    m->count++;
    m->sum += value;
    m->mean += before / (double)m->count;
    m->squares += before * (value - m->mean);
}

double cli_mean_error(const cli_mean *m)
{
    double n = (double)m->count;
    return m->count < 2 ? 0.0 : sqrt(m->squares / (n - 1) / n);
}

cli_choice_figures cli_choose(const double *logprobs, const size_t *lengths, size_t count,
                              size_t answer)
{
    cli_choice_figures f = { 0 };
    double sum = 0;
    for (size_t i = 1; i < count; i++) {
        double length = (double)(lengths[i] ? lengths[i] : 1);
        double best = (double)(lengths[f.best_per_length] ? lengths[f.best_per_length] : 1);
        if (logprobs[i] > logprobs[f.best]) f.best = i;
        if (logprobs[i] / length > logprobs[f.best_per_length] / best) f.best_per_length = i;
    }
    for (size_t i = 0; i < count; i++) sum += exp(logprobs[i] - logprobs[f.best]);
    f.answer_probability = exp(logprobs[answer] - logprobs[f.best]) / sum;
    return f;
}

bool cli_window_next(const cli_cut *cut, cli_window *w)
{
    bool first = w->count == 0;
    size_t end = first ? cut->least_context : w->begin + w->context + w->count;
    if (end >= cut->total) return false;
    if (!first) w->begin += cut->stride;
    size_t stop = w->begin + cut->room < cut->total ? w->begin + cut->room : cut->total;
    w->context = end - w->begin;
    w->count = stop - end;
    return true;
}

size_t cli_window_number(const cli_cut *cut)
{
    cli_window w = { 0 };
    size_t n = 0;
    while (cli_window_next(cut, &w)) n++;
    return n;
}
