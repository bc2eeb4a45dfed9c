/* SPDX-License-Identifier: Apache-2.0
 * Chat templates: the subset of Jinja that models' templates use, with the settings transformers
 * gives it (trim_blocks, lstrip_blocks, its tojson, raise_exception, strftime_now). A template
 * comes from a model file and is hostile: memory, steps, depth and output are bounded. What fails
 * is one sentence with the template's line. */
#ifndef PUM_TEMPLATE_H
#define PUM_TEMPLATE_H

#include "base.h"

#include <jansson.h>

typedef struct pum_template pum_template;

pumice_status pum_template_parse(const char *text, size_t bytes, pum_template **out_template,
                                 pumice_error *err);
void pum_template_destroy(pum_template **t);
/* Appends the result to *out. `variables` is an object of what the template may name ("messages",
 * "add_generation_prompt", "bos_token", ...); `now` is what strftime_now shows, in seconds since
 * 1970. */
pumice_status pum_template_render(const pum_template *t, const json_t *variables, int64_t now,
                                  pum_text *out, pumice_error *err);

#endif
