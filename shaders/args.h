/* SPDX-License-Identifier: Apache-2.0
 *
 * What the host and the shaders agree on: push-constant structs and the layout of the step buffer.
 * Included by C and by GLSL, so it holds nothing but 32-bit members and integer #defines.
 * Every count is in elements unless the name says otherwise; strides are in elements of the bound type
 * (f32 for activations). A "row" is one token of the batch.
 */
#ifndef PUM_ARGS_H
#define PUM_ARGS_H

#ifdef PUM_GLSL
#  define PUM_UINT uint
#  define PUM_ARGS(name) struct name
#else
#  include <stdint.h>
#  define PUM_UINT uint32_t
#  define PUM_ARGS(name) typedef struct name name; struct name
#endif

/* ---- the step buffer: all that changes from token to token, as 32-bit words --------------------
 *
 *   [0, STEP_HEADER)                            header
 *   rows   at STEP_ROWS_AT + r * STEP_ROW_WORDS        one per batch row
 *   slots  at args.slot_at + i * STEP_SLOT_WORDS       one per row that has logits: sampling state
 *   ring   at slot word SLOT_RING + (counter % STEP_RING)   the tokens chosen, newest overwrites oldest
 *   block tables at args.table_at + seq * args.table_stride: physical page of each logical page
 *
 * The host writes it between submits; sampling kernels write tokens and advance rows. */
#define STEP_HEADER 64u
#define STEP_ROWS_AT 64u
#define STEP_ROW_WORDS 16u
#define ROW_TOKEN 0u   /* token id */
#define ROW_POS 1u     /* position for rotary / learned embeddings */
#define ROW_SEQ 2u     /* sequence index (selects the block table); ROW_INACTIVE = do nothing */
#define ROW_CELL 3u    /* logical KV cell this row's K and V are stored in */
#define ROW_LO 4u      /* first visible cell */
#define ROW_HI 5u      /* one past the last visible cell */
#define ROW_POS2 6u    /* second position (2-D rotary), else 0 */
#define ROW_ROPE 7u    /* which table of rotary frequencies: 0, or 1 for long contexts; left as the host wrote it */
#define ROW_SEQ2 8u    /* what attention over a second set of cells (an encoder's) reads: their sequence, */
#define ROW_LO2 9u     /* the first visible cell and */
#define ROW_HI2 10u    /* one past the last; the device leaves these three as the host wrote them */
#define ROW_TARGET 11u /* the token that comes after this row, to be scored; ROW_INACTIVE = none. The score: */
#define ROW_LOGPROB 12u /* float bits: its log-probability; NaN if a logit is */
#define ROW_TOP 13u    /* float bits: the id of the likeliest token */
#define ROW_INACTIVE 0xffffffffu

#define STEP_SLOT_WORDS 96u
#define SLOT_SRC_ROW 0u   /* batch row whose hidden state this slot takes to the head */
#define SLOT_DST_ROW 1u   /* batch row that receives the chosen token, ROW_INACTIVE = none */
#define SLOT_TEMPERATURE 2u /* float bits; <= 0 = arg-max */
#define SLOT_TOP_K 3u     /* 0 = off */
#define SLOT_TOP_P 4u     /* float bits; 0 or >= 1 = off */
#define SLOT_MIN_P 5u     /* float bits; 0 = off */
#define SLOT_SEED_LO 6u
#define SLOT_SEED_HI 7u
#define SLOT_COUNTER 8u   /* tokens chosen so far: the generator's counter and the ring's index */
#define SLOT_SEQ 9u       /* sequence, next cell and next position: what DST_ROW gets with the token; */
#define SLOT_CELL 10u     /* the cell then advances by one, the positions by their steps */
#define SLOT_POS 11u
#define SLOT_LO 12u       /* first visible cell, copied to the row */
#define SLOT_TOKEN 13u    /* the last token chosen */
#define SLOT_POS2 14u     /* the row's second position, */
#define SLOT_POS_STEP 15u /* and what is added to both with every token */
#define SLOT_POS2_STEP 16u
#define SLOT_RING 32u
#define STEP_RING 64u

/* The KV cache of a layer is [page][kv head][cell in page][dim], pages of this many cells; dims are head_dim rounded
 * up to a multiple of 8, zeros beyond head_dim. The quantized types, for which head_dim is a multiple of 32, have per
 * [page][kv head] first all quants, [cell][dim], then all scales, [block of 32 dims][cell], f16. A quant of q8_0 is a
 * byte, 128 more than the value over the scale; one of q4_0 four bits, 8 more; both in the order of the dims, low bits
 * first. */
#define KV_PAGE 32u

/* KV types as specialisation constants KT and VT */
#define KV_F32 0u
#define KV_F16 1u
#define KV_Q8_0 2u
#define KV_Q4_0 3u

/* ---- push constants, one struct per kernel family ---------------------------------------------- */

/* y[r] = scale * table[token or position of r], rows of the table in [first, first + count) only: a table larger than
 * one binding is gathered by several steps, each of which leaves the other rows alone. */
PUM_ARGS(pum_args_embed) {
    PUM_UINT cols, rows;      /* grid (ceil(cols / (4*WG)), rows) */
    PUM_UINT first, count;
    float scale;
    PUM_UINT y_stride;
    PUM_UINT last;            /* 1: ids outside the whole table (>= first+count) give zeros */
    PUM_UINT field;           /* word of the batch row that names the table's: ROW_TOKEN or ROW_POS */
    PUM_UINT norm_at;         /* as in pum_args_matmul; NORM_EMBED_COLS columns of y a sum */
};

/* y = norm(x) * w (+ b), row by row; w has w_rows rows, taken in turn. With 8-bit results (norm_q8) cols is a multiple
 * of 32, x_stride of 4, and y_stride is not used. grid (rows) */
PUM_ARGS(pum_args_norm) {
    PUM_UINT cols, rows;
    PUM_UINT x_stride, y_stride;
    float eps;
    float w_add;              /* added to w (1 for Gemma, else 0) */
    PUM_UINT w_rows;          /* 1, or one for each head */
};

/* x to activations of 8 bits (lib/q8_a.glsl); x begins on 16 bytes. cols is a multiple of 32, x_stride of 4.
 * grid (ceil(cols / 32 / WG), rows) */
PUM_ARGS(pum_args_quantize_act) {
    PUM_UINT cols, rows;
    PUM_UINT x_stride;
};

/* y[r, y_first + n] = act(scale * sum_k W[n,k] x[r,k] + bias[y_first + n]) + res[r, y_first + n]; n < n_rows of the
 * piece bound. With GLU the piece holds 2 n_rows rows, gate first: y[r, y_first + n] = act(row n x) *
 * (row n_rows + n x), both scaled. matvec_dot8 takes x in 8 bits; k is a multiple of 32 then and x_stride is not used.
 *
 * RMSNorm between two kernels needs none of its own: W (g * x) / sqrt(mean(x^2) + eps), g the norm's weights, is begun
 * by the kernel that makes x and ended by the one that reads it. The first writes rows of norm_at columns of x, as many
 * of g * x, then sums of x^2 over a few columns each, whichever: 4 sums or a multiple of that. The second (mat-vecs)
 * reads g * x, adds the sums up and scales its own. */
PUM_ARGS(pum_args_matmul) {
    PUM_UINT k, n, rows;      /* inner size, weight rows bound here, batch rows */
    PUM_UINT x_stride, y_stride, res_stride;
    PUM_UINT y_first;         /* column of y (and bias, res) where the piece begins */
    PUM_UINT epi;             /* EPI_* bits; not with GLU */
    PUM_UINT x_sums;          /* x is begun as above, with so many sums; k is a multiple of 4; 0 = x is what it is */
    float eps;                /* of x's norm */
    PUM_UINT norm_at;         /* y is begun as above: its columns; 0 = y alone */
    float scale;              /* multiplies the sums over k */
};

/* Rotates `heads` heads of head_dim within x[r, x_first ...] into y[r, y_first ...]; dims beyond rot_dim are copied.
 * Pair i's angle is position * freq[i] turns, freq a 64-bit fraction of a turn (uvec2: low, high word). With the
 * pairing ROPE_2D two blocks of rot_dim dims are rotated by the same frequencies, the second by ROW_POS2. Tables of
 * rot_dim / 2 frequencies lie behind one another, ROW_ROPE says which is the row's. */
PUM_ARGS(pum_args_rope) {
    PUM_UINT heads, head_dim, rot_dim, rows;
    PUM_UINT x_stride, x_first, y_stride, y_first;
    float scale;              /* multiplies the rotated pairs (YaRN's attention factor), else 1 */
};

/* Stores k[r], v[r] (kv_heads * head_dim each) in the cells of the rows' sequences. */
PUM_ARGS(pum_args_kv_store) {
    PUM_UINT kv_heads, head_dim, rows;
    PUM_UINT k_stride, k_first, v_stride, v_first;
    PUM_UINT table_at, table_stride;
};

/* rope of q into qo, rope of k and plain v into the cache, in one dispatch. */
PUM_ARGS(pum_args_rope_kv) {
    PUM_UINT heads, kv_heads, head_dim, rot_dim, rows;
    PUM_UINT q_stride, q_first, k_stride, k_first, v_stride, v_first, y_stride;
    PUM_UINT table_at, table_stride;
    float scale;
};

/* y[r, h] = softmax over cells c in [lo, hi) of cap(scale * q[r,h].k[c]) + extras, times v[c];
 * lo = max(ROW_LO, ROW_CELL + 1 - window) when window != 0. Specialisation constant EXTRA, by bits:
 *   ATTN_CAP    cap(s) = softcap*tanh(s/softcap)
 *   ATTN_ALIBI  alibi_scale * slope(h) * c is added (BLOOM's slopes for `heads` heads)
 *   ATTN_BIAS   bias[h][clamp(c - ROW_CELL, -bias_max, bias_max) + bias_max] is added; else nothing of bias is read
 *   ATTN_PARTS  y is, per split, the rows' y over its share of the pages that any row of the tile sees, and behind
 *               all of them, per split, row and head, the log of the sum of exponentials (-3e38: no cell).
 *               y_stride is heads * head_dim. A split's share is ceil(pages / splits), at least ATTN_SPLIT_PAGES.
 * Cells between those that rows of a tile see must hold numbers. */
#define ATTN_CAP 1u
#define ATTN_ALIBI 2u
#define ATTN_BIAS 4u
#define ATTN_PARTS 8u
#define ATTN_SPLIT_PAGES 2u
PUM_ARGS(pum_args_attn) {
    PUM_UINT heads, kv_heads, head_dim, rows;
    PUM_UINT q_stride, q_first, y_stride;
    float scale, softcap;
    PUM_UINT window;
    PUM_UINT table_at, table_stride;
    float alibi_max, alibi_scale;
    PUM_UINT row_seq, row_lo, row_hi; /* which words of a batch row tell the sequence and the range: ROW_SEQ, ROW_LO,
                                         ROW_HI or ROW_SEQ2, ROW_LO2, ROW_HI2. Rows whose ROW_SEQ is ROW_INACTIVE see
                                         nothing either way. */
    PUM_UINT bias_max, splits;
};

/* y[r] = the splits' vectors x (ATTN_PARTS), weighted by their sums of exponentials. */
PUM_ARGS(pum_args_attn_merge) {
    PUM_UINT heads, head_dim, rows, splits, y_stride;
};

/* y = act(x) or act(gate) * up, element by element: see the specialisation constant ACT. */
PUM_ARGS(pum_args_act) {
    PUM_UINT cols, rows;
    PUM_UINT gate_stride, gate_first, up_stride, up_first, y_stride;
};

/* y = a + b; b_stride 0 repeats one row (a bias). */
PUM_ARGS(pum_args_add) {
    PUM_UINT cols, rows;
    PUM_UINT a_stride, b_stride, y_stride;
    float scale;              /* y = scale * a + b */
};

/* y = limit(scale * x): see the specialisation constant KIND. */
PUM_ARGS(pum_args_limit) {
    PUM_UINT cols, rows;
    PUM_UINT x_stride, y_stride;
    float scale, limit;
};

/* Copies `cols` f32 of rows; gather_rows takes row SLOT_SRC_ROW of slot i as its i-th row. */
PUM_ARGS(pum_args_copy) {
    PUM_UINT cols, rows;
    PUM_UINT x_stride, y_stride;
    PUM_UINT slot_at;
};

/* y[r] = softmax(scale * x[r]). grid (rows) */
PUM_ARGS(pum_args_softmax) {
    PUM_UINT cols, rows;
    PUM_UINT x_stride, y_stride;
    float scale;
};

/* ---- mixtures of experts: a pair is (batch row, one of its experts), pair = row * used + place ---- */

/* Pairs of one expert that one workgroup of expert_matmul takes. */
#define EXPERT_TILE 8u

/* y[r] = the `used` experts of the largest x[r], largest first (ids as floats), then their weights: softmax over all
 * experts, scaled to sum 1 if renorm, times scale. grid (rows) */
PUM_ARGS(pum_args_route) {
    PUM_UINT experts, used, rows;
    PUM_UINT x_stride, y_stride;
    PUM_UINT renorm;
    float scale;
};

/* From the routes of all rows to words: the pairs by expert, then `tiles` times (expert, first, count): at most
 * EXPERT_TILE pairs of one expert from place `first` on; count 0 = none. One workgroup. */
PUM_ARGS(pum_args_expert_group) {
    PUM_UINT experts, used, rows;
    PUM_UINT x_stride;
    PUM_UINT tiles;
};

/* y[pair] = W of the pair's expert times x[pair / x_div]. The experts' matrices of n rows lie below one another; rows
 * [first, first + count) of them all are bound here, and what they do not give is left alone. */
PUM_ARGS(pum_args_expert) {
    PUM_UINT k, n, used, pairs;
    PUM_UINT x_stride, x_div, y_stride;
    PUM_UINT route_stride;    /* expert_matvec: of route's rows */
    PUM_UINT first, count;
};

/* y[pair] = x[pair] * scale[the pair's expert]. grid (ceil(cols / WG), pairs) */
PUM_ARGS(pum_args_expert_scale) {
    PUM_UINT cols, pairs, used;
    PUM_UINT x_stride, route_stride, y_stride;
};

/* y[r] = sum of x[pair] * weight over the pairs of r (+ shared[r] * sigmoid(gate[r]) with SHARED).
 * grid (ceil(cols / WG), rows) */
PUM_ARGS(pum_args_expert_sum) {
    PUM_UINT cols, rows, used;
    PUM_UINT x_stride, route_stride, shared_stride, y_stride;
};

/* Chooses a token of logits[slot] for every slot and advances the slot and its row. grid (slots) */
PUM_ARGS(pum_args_sample) {
    PUM_UINT cols, slots, x_stride;
    PUM_UINT slot_at;
};

/* Writes ROW_LOGPROB and ROW_TOP of every batch row that has a ROW_TARGET, from logits[row]. grid (rows) */
PUM_ARGS(pum_args_score) {
    PUM_UINT cols, rows, x_stride;
};

/* Kernels that measure the device (roof_*): `rounds` of a loop; a round loads ROOF_LOADS vectors of four words, or
 * does ROOF_STEPS of v = v * scale + shift on ROOF_CHAINS numbers, or of v = v + the packed product of v and
 * ROOF_BYTES, modulo 2^32, on as many words. */
#define ROOF_LOADS 8u
#define ROOF_STEPS 8u
#define ROOF_CHAINS 12u
#define ROOF_BYTES 0x03fd0105u /* 5, 1, -3, 3 */
PUM_ARGS(pum_args_roof) {
    PUM_UINT rounds;
    float scale, shift;
};

/* Rounds rows of numbers to a weight format. grid (ceil(groups of a row / WG), rows); plain formats: rows = 1 */
PUM_ARGS(pum_args_quantize) {
    PUM_UINT cols, rows;
};

/* Rows of file blocks to the planes that a weight's rows have on the device (graph/dtype.def). Row 0 begins at byte
 * `first` of what is bound; plane p is bytes [at p, at p + bytes p) of each block, bytes 0: no such plane.
 * One invocation a word of the result; grid (x, y) with x * y >= ceil(words / WG) */
PUM_ARGS(pum_args_repack) {
    PUM_UINT first, rows, blocks, block_bytes; /* blocks of a row */
    PUM_UINT at0, bytes0, at1, bytes1, at2, bytes2;
};

/* What is quantized (specialisation constant SRC) */
#define SOURCE_F32 0u
#define SOURCE_F16 1u
#define SOURCE_BF16 2u

/* Activations (specialisation constant ACT) */
#define ACT_NONE 0u
#define ACT_SILU 1u
#define ACT_GELU_TANH 2u
#define ACT_GELU_ERF 3u
#define ACT_RELU 4u
#define ACT_RELU2 5u      /* relu squared */
#define ACT_GELU_QUICK 6u /* x sigmoid(1.702 x) */

/* Limits (specialisation constant KIND of limit) */
#define LIMIT_NONE 0u
#define LIMIT_CAP 1u   /* limit * tanh(v / limit) */
#define LIMIT_CLAMP 2u /* v cut to [-limit, limit] */

/* Norms (specialisation constant KIND) */
#define NORM_RMS 0u
#define NORM_LAYER 1u

/* Columns of y over which a kernel adds up the squares: the columns of a mat-vec's set or tile; of embed */
#define NORM_EMBED_COLS 4u

/* Rotary pairings (specialisation constant PAIRING) */
#define ROPE_INTERLEAVED 0u /* pair (2i, 2i+1): GGUF "llama", GPT-J */
#define ROPE_HALVES 1u      /* pair (i, i + rot_dim/2): GPT-NeoX, Hugging Face LLaMA */
#define ROPE_2D 2u          /* two blocks of rot_dim dims, each as ROPE_HALVES: by ROW_POS and by ROW_POS2 (ChatGLM) */

/* Epilogue bits of matmul kernels: an argument, so that one pipeline serves all of a model's matrices */
#define EPI_BIAS 1u
#define EPI_RESIDUAL 2u
/* of matmul_texel alone, where they stand for what are constants elsewhere: fewer pipelines to compile */
#define EPI_ACT 4u   /* the activation ACT; without it none */
#define EPI_GLU 8u   /* gate, up and activation in one */
#define EPI_SHARE 16u /* VEC: the lanes of a subgroup share a tile */

#endif
