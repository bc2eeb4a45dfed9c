/* SPDX-License-Identifier: Apache-2.0
 * A plan as stable text, as JSON and as a hash. Goldens of the text show the effect of a change in
 * review, so nothing that varies from run to run may be printed. */
#include "plan_pass.h"

#include <stdio.h>
#include <string.h>

typedef unsigned long long ull;

static void buffer_name(uint32_t buffer, char *out, size_t capacity)
{
    if (buffer >= PUM_BUFFER_WEIGHT)
        snprintf(out, capacity, "weights%u", buffer - PUM_BUFFER_WEIGHT);
    else if (buffer >= PUM_BUFFER_KV) snprintf(out, capacity, "kv%u", buffer - PUM_BUFFER_KV);
    else
        snprintf(out, capacity, "%s",
                 buffer == PUM_BUFFER_ARENA  ? "arena"
                 : buffer == PUM_BUFFER_STEP ? "step"
                 : buffer == PUM_BUFFER_HIDDEN ? "hidden"
                                             : "logits");
}

static const char *access_name(uint8_t access)
{
    return access == PUM_ACCESS_TEXEL ? "t" : access == PUM_ACCESS_R ? "r" : access == PUM_ACCESS_W ? "w" : "rw";
}

static void dump_step(const pum_step *s, size_t i, pum_text *out)
{
    const pum_kernel_info *k = &pum_kernels[s->kernel];
    pum_text_printf(out, "%4zu %c %-28s %-20s grid %ux%ux%u", i, s->barrier ? '|' : ' ', s->label,
                    k->name, s->grid[0], s->grid[1], s->grid[2]);
    for (uint32_t p = 0; p < k->n_spec; p++) pum_text_printf(out, " %s=%u", k->spec[p], s->spec[p]);
    pum_text_printf(out, "  %llu B %llu flop%s\n", (ull)s->bytes, (ull)s->flops,
                    s->submit_end ? "  submit" : "");
    for (uint32_t b = 0; b < k->n_bindings; b++) {
        char name[24];
        buffer_name(s->bind[b].buffer, name, sizeof name);
        pum_text_printf(out, "         %-2s %-6s %s[%llu +%llu]\n", access_name(s->bind[b].access),
                        k->binding[b], name, (ull)s->bind[b].offset_bytes,
                        (ull)s->bind[b].size_bytes);
    }
}

void pum_plan_dump(const pum_plan *plan, pum_text *out)
{
    pum_text_printf(out, "plan: %u rows, %zu steps, %u barriers, %u submits, %u fusions\n",
                    plan->rows, plan->steps.count, plan->n_barriers, plan->n_submits,
                    plan->n_fused);
    pum_text_printf(out, "      %llu bytes of traffic, %llu flop, hash %016llx\n", (ull)plan->bytes,
                    (ull)plan->flops, (ull)pum_plan_hash(plan));
    pum_text_printf(out, "steps ('|' = barrier before):\n");
    for (size_t i = 0; i < plan->steps.count; i++) dump_step(&plan->steps.data[i], i, out);
    pum_text_printf(out, "arena: %llu bytes for %llu bytes of activations\n",
                    (ull)plan->arena_bytes, (ull)plan->activation_bytes);
    for (size_t i = 0; i < plan->values.count; i++) {
        const pum_plan_value *v = &plan->values.data[i];
        pum_text_printf(out, "  [%8llu +%8llu] steps %3u..%-3u %s\n", (ull)v->offset_bytes,
                        (ull)v->size_bytes, v->first_step, v->last_step, v->name);
    }
    pum_text_printf(out, "step buffer: %llu bytes; logits: %llu bytes\n", (ull)plan->step_bytes,
                    (ull)plan->logits_bytes);
}

static void dump_step_json(const pum_step *s, size_t i, pum_text *out)
{
    const pum_kernel_info *k = &pum_kernels[s->kernel];
    pum_text_printf(out, "%s\n    {\"step\": %zu, \"label\": \"", i ? "," : "", i);
    for (const char *p = s->label; *p; p++) { /* tensor names come from files */
        if (*p == '"' || *p == '\\') pum_text_add(out, "\\", 1);
        if ((unsigned char)*p >= 0x20) pum_text_add(out, p, 1);
    }
    pum_text_printf(out,
                    "\", \"kernel\": \"%s\", \"layer\": %d, \"barrier\": %s, \"submit_end\": %s, "
                    "\"grid\": [%u, %u, %u], "
                    "\"bytes\": %llu, \"flops\": %llu, \"predicted_ns\": %llu, \"spec\": {",
                    k->name, (int)s->layer, s->barrier ? "true" : "false",
                    s->submit_end ? "true" : "false", s->grid[0], s->grid[1], s->grid[2],
                    (ull)s->bytes, (ull)s->flops, (ull)s->predicted_ns);
    for (uint32_t p = 0; p < k->n_spec; p++) {
        pum_text_printf(out, "%s\"%s\": %u", p ? ", " : "", k->spec[p], s->spec[p]);
    }
    pum_text_printf(out, "}, \"bindings\": [");
    for (uint32_t b = 0; b < k->n_bindings; b++) {
        char name[24];
        buffer_name(s->bind[b].buffer, name, sizeof name);
        pum_text_printf(out,
                        "%s{\"name\": \"%s\", \"access\": \"%s\", \"buffer\": \"%s\", \"offset\": "
                        "%llu, \"size\": %llu}",
                        b ? ", " : "", k->binding[b], access_name(s->bind[b].access), name,
                        (ull)s->bind[b].offset_bytes, (ull)s->bind[b].size_bytes);
    }
    pum_text_printf(out, "]}");
}

void pum_plan_dump_json(const pum_plan *plan, pum_text *out)
{
    pum_text_printf(out,
                    "{\"rows\": %u, \"barriers\": %u, \"submits\": %u, \"fusions\": %u, \"bytes\": "
                    "%llu, \"flops\": %llu, "
                    "\"arena_bytes\": %llu, \"activation_bytes\": %llu, \"step_bytes\": %llu, "
                    "\"logits_bytes\": %llu, "
                    "\"hash\": \"%016llx\",\n  \"steps\": [",
                    plan->rows, plan->n_barriers, plan->n_submits, plan->n_fused, (ull)plan->bytes,
                    (ull)plan->flops, (ull)plan->arena_bytes, (ull)plan->activation_bytes,
                    (ull)plan->step_bytes, (ull)plan->logits_bytes, (ull)pum_plan_hash(plan));
    for (size_t i = 0; i < plan->steps.count; i++) dump_step_json(&plan->steps.data[i], i, out);
    pum_text_printf(out, "],\n  \"arena\": [");
    for (size_t i = 0; i < plan->values.count; i++) {
        const pum_plan_value *v = &plan->values.data[i];
        pum_text_printf(out,
                        "%s\n    {\"name\": \"%s\", \"offset\": %llu, \"size\": %llu, \"first\": "
                        "%u, \"last\": %u}",
                        i ? "," : "", v->name, (ull)v->offset_bytes, (ull)v->size_bytes,
                        v->first_step, v->last_step);
    }
    pum_text_printf(out, "]}\n");
}

uint64_t pum_plan_hash(const pum_plan *plan)
{
    uint64_t h = PUM_HASH_START;
    for (size_t i = 0; i < plan->steps.count; i++) {
        const pum_step *s = &plan->steps.data[i];
        const pum_kernel_info *k = &pum_kernels[s->kernel];
        h = pum_hash(h, k->name, strlen(k->name));
        h = pum_hash(h, s->spec, k->n_spec * sizeof s->spec[0]);
        h = pum_hash(h, s->grid, sizeof s->grid);
        h = pum_hash(h, s->args, k->args_bytes);
        h = pum_hash(h, &s->barrier, 1);
        h = pum_hash(h, &s->submit_end, 1);
        for (uint32_t b = 0; b < k->n_bindings; b++) {
            h = pum_hash(h, &s->bind[b].buffer, sizeof s->bind[b].buffer);
            h = pum_hash(h, &s->bind[b].offset_bytes, sizeof s->bind[b].offset_bytes);
            h = pum_hash(h, &s->bind[b].size_bytes, sizeof s->bind[b].size_bytes);
        }
    }
    return h;
}
