// SPDX-License-Identifier: Apache-2.0
// Addresses in the paged KV cache: [page][kv head][cell in page][head_dim]. Needs step_w.
// Returns the element where the vector of (cell, head) of a sequence begins.
uint kv_element(uint table_at, uint table_stride, uint seq, uint cell, uint head, uint heads, uint head_dim)
{
    uint page = step_w[table_at + seq * table_stride + cell / KV_PAGE];
    return ((page * heads + head) * KV_PAGE + cell % KV_PAGE) * head_dim;
}
