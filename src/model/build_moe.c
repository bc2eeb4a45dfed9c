/* SPDX-License-Identifier: Apache-2.0
 * The mixture of experts that stands in an MLP's place: router, the chosen experts' gated MLPs,
 * their weighted sum, and the expert that all rows share. */
#include "builder.h"

/* A node whose output has other rows than the hidden state. */
static pum_value_id node_of(pum_builder *b, uint64_t rows, pum_op op, const pum_value_id in[4],
                            pum_params p, uint64_t cols, const char *what)
{
    uint64_t kept = b->rows;
    b->rows = rows;
    pum_value_id y = pum_build_node(b, op, in, p, cols, what);
    b->rows = kept;
    return y;
}

static pum_value_id shared_expert(pum_builder *b, const pum_layer *l, pum_value_id h)
{
    pum_value_id gate = pum_build_matmul(b, h, l->gate_shared, -1, "shared_gate");
    pum_value_id up = pum_build_matmul(b, h, l->up_shared, -1, "shared_up");
    const pum_value_id in[] = { gate, up, PUM_NO_VALUE, PUM_NO_VALUE };
    pum_value_id a = pum_build_node(b, PUM_OP_ACT, in, (pum_params){ .act = b->hp->act },
                                    b->hp->n_ff_shared, "shared_act");
    return pum_build_matmul(b, a, l->down_shared, -1, "shared_out");
}

static pum_params params_of(const pum_hparams *hp)
{
    return (pum_params){ .experts = hp->n_experts, .experts_used = hp->n_experts_used,
                         .renorm = hp->expert_renorm, .act = hp->act };
}

/* A row for each pair of row and expert; x has as many, or one for each row. */
static pum_value_id expert_matmul(pum_builder *b, int32_t w, int32_t scales, pum_value_id x, pum_value_id route,
                                  pum_value_id group, const char *what)
{
    const pum_hparams *hp = b->hp;
    uint64_t pairs = b->rows * hp->n_experts_used, n = b->def->weights.data[w].rows / hp->n_experts;
    const pum_value_id in[] = { pum_build_weight(b, w), x, route, group };
    pum_value_id y = node_of(b, pairs, PUM_OP_EXPERT_MATMUL, in, params_of(hp), n, what);
    if (scales < 0) return y;
    const pum_value_id scale_in[] = { y, route, pum_build_weight(b, scales), PUM_NO_VALUE };
    return node_of(b, pairs, PUM_OP_EXPERT_SCALE, scale_in, params_of(hp), n, what);
}

pum_value_id pum_build_moe(pum_builder *b, pum_value_id h)
{
    const pum_hparams *hp = b->hp;
    const pum_layer *l = pum_build_layer(b);
    const pum_value_id none = PUM_NO_VALUE;
    uint64_t used = hp->n_experts_used, pairs = b->rows * used;
    pum_params p = params_of(hp);
    pum_value_id logits = pum_build_matmul(b, h, l->router, -1, "router");
    const pum_value_id route_in[] = { logits, none, none, none };
    pum_params route_p = p;
    route_p.scale = hp->expert_scale;
    pum_value_id route = pum_build_node(b, PUM_OP_ROUTE, route_in, route_p, 2 * used, "route");
    const pum_value_id group_in[] = { route, none, none, none };
    pum_value_id group =
        node_of(b, 1, PUM_OP_EXPERT_GROUP, group_in, p, 4 * pairs, "expert_group");
    pum_value_id gate = expert_matmul(b, l->gate_exps, l->gate_exps_scale, h, route, group, "expert_gate");
    pum_value_id up = expert_matmul(b, l->up_exps, l->up_exps_scale, h, route, group, "expert_up");
    const pum_value_id act_in[] = { gate, up, none, none };
    pum_value_id a = node_of(b, pairs, PUM_OP_ACT, act_in, p, hp->n_ff_expert, "expert_act");
    pum_value_id y = expert_matmul(b, l->down_exps, l->down_exps_scale, a, route, group, "expert_down");
    pum_value_id sum_in[] = { y, route, none, none };
    pum_value_id shared = none;
    if (l->gate_shared >= 0) {
        shared = shared_expert(b, l, h);
        if (l->shared_router >= 0) {
            sum_in[PUM_IN_SUM_SHARED] = shared;
            sum_in[PUM_IN_SUM_GATE] = pum_build_matmul(b, h, l->shared_router, -1, "shared_router");
        }
    }
    y = pum_build_node(b, PUM_OP_EXPERT_SUM, sum_in, p, hp->n_embd, "expert_sum");
    return shared >= 0 && l->shared_router < 0 ? pum_build_add(b, y, shared, 1.0f, "shared_sum") : y;
}
