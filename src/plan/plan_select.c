/* SPDX-License-Identifier: Apache-2.0
 * Asks every node's op for its dispatches. The candidates and their order are the kernel table's,
 * the numbers the tuning table's; this pass only checks that what came out runs on the device. */
#include "plan_pass.h"

static pumice_status check_draft(const pum_select *s, const pum_draft *d)
{
    const pum_kernel_info *k = &pum_kernels[d->kernel];
    const pum_caps *c = s->caps;
    if (k->n_bindings > c->max_storage_buffers) {
        return pum_fail(s->err, PUMICE_ERROR_UNSUPPORTED,
                        "'%s' binds %u buffers, but '%s' takes at most %u", k->name, k->n_bindings,
                        c->name, c->max_storage_buffers);
    }
    if (d->spec[0] == 0 || d->spec[0] > c->max_workgroup_invocations ||
        d->spec[0] > c->max_workgroup_size[0]) {
        return pum_fail(s->err, PUMICE_ERROR_UNSUPPORTED,
                        "'%s' wants workgroups of %u, but '%s' takes at most %u", k->name,
                        d->spec[0], c->name, c->max_workgroup_invocations);
    }
    for (int i = 0; i < k->n_bindings; i++) {
        pum_value_id v = d->bind[i].value;
        if (v < 0 || (size_t)v >= s->graph->values.count) {
            return pum_fail(s->err, PUMICE_ERROR_INTERNAL, "'%s' leaves binding '%s' empty",
                            d->label, k->binding[i]);
        }
    }
    return PUMICE_OK;
}

pumice_status pum_plan_select(pum_select *s)
{
    for (size_t i = 0; i < s->graph->nodes.count; i++) {
        const pum_node *node = &s->graph->nodes.data[i];
        const pum_op_info *op = pum_op_get(node->op);
        size_t first = s->drafts.count;
        s->node = (int32_t)i;
        PUM_TRY(op->check(s->graph, node, s->err));
        PUM_TRY(op->select(s, node));
        for (size_t d = first; d < s->drafts.count; d++)
            PUM_TRY(check_draft(s, &s->drafts.data[d]));
    }
    return PUMICE_OK;
}
