// SPDX-License-Identifier: Apache-2.0
// Addresses in the paged KV cache (layout: args.h). Needs step_w.
// Physical page of a logical one
uint kv_page(uint table_at, uint table_stride, uint seq, uint page)
{
    return step_w[table_at + seq * table_stride + page];
}
