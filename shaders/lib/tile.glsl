// SPDX-License-Identifier: Apache-2.0
// One tile of matmul_texel: TM batch rows x TN weight rows in registers. Include it once for each shape, with TILE (the
// function's name), TM and TN defined: literal bounds, since software drivers keep arrays indexed by loops with
// specialised bounds in memory. TM 1 multiplies sums by the scales, TM > 1 every weight once for all batch rows.
void TILE(uint s, uint apart, uint t0, uint lane, uint lanes, float x_scaled)
{
    uint last_t = a.rows - 1u; /* rows past the end repeat the last and are not stored */
    float acc[TM * TN];
    /* once before the loop: the drivers that this is for compute all that is in a loop in each round of it */
    uint k = a.k, chunks = whole_chunks(), w_at[TN], x_at[TM];
    [[unroll]] for (uint n = 0u; n < TN; n++) w_at[n] = q_row_at(weight_row(s, n, apart), k);
    [[unroll]] for (uint m = 0u; m < TM; m++) x_at[m] = x_row_at(min(t0 + m, last_t));
    [[unroll]] for (uint i = 0u; i < TM * TN; i++) acc[i] = 0.0;
    for (uint c = lane; c < chunks; c += lanes) {
        q_raw raw[TN];
        [[unroll]] for (uint n = 0u; n < TN; n++) raw[n] = w_chunk(w_at[n], k, c);
#if TM == 1
        vec4 xv[Q_VECS];
        float x_sum[Q_RUNS];
        x_chunk(x_at[0], c, xv, x_sum);
        [[unroll]] for (uint n = 0u; n < TN; n++) acc[n] += q_dot(raw[n], xv, x_sum);
#else
#define TILE_STEP(i) \
        { \
            uint at = q_at(c, (i) / Q_RUN_VECS) + (i) % Q_RUN_VECS; \
            vec4 wv[TN]; \
            [[unroll]] for (uint n = 0u; n < TN; n++) wv[n] = q_weights(raw[n], i); \
            [[unroll]] for (uint m = 0u; m < TM; m++) { \
                vec4 xv = x_quad(x_at[m] + at); \
                [[unroll]] for (uint n = 0u; n < TN; n++) acc[m * TN + n] += dot(xv, wv[n]); \
            } \
        }
#if Q_VECS > 2
        /* a loop that stays a loop: written out, a block of 32 takes the driver's compiler a second */
        [[dont_unroll]] for (uint i = 0u; i < Q_VECS; i++) TILE_STEP(i)
#else
        Q_EACH(TILE_STEP)
#endif
#endif
#undef TILE_STEP
    }
#if TM == 1
    if (lanes > 1u) {
        [[unroll]] for (uint i = 0u; i < TN; i++) acc[i] = set_sum(acc[i]);
    }
    float squares = 0.0;
#endif
    /* loops that stay loops, and pick their sum: TM * TN copies of the epilogue would take long to compile. Lanes that
     * share a tile each finish columns of their own. */
    uint rows = min(uint(TM), a.rows - t0), columns = glu() ? TN / 2u : TN;
    [[dont_unroll]] for (uint m = 0u; m < rows; m++) {
        float v[TN];
        [[unroll]] for (uint n = 0u; n < TN; n++) {
            v[n] = acc[n];
            [[unroll]] for (uint i = 1u; i < TM; i++) v[n] = m == i ? acc[i * TN + n] : v[n];
        }
        [[dont_unroll]] for (uint n = lane; n < columns; n += lanes) {
            uint to = s + n * apart;
            if (to >= a.n) break;
            float sum = v[0], up = v[TN / 2];
            [[unroll]] for (uint i = 1u; i < TN; i++) sum = n == i ? v[i] : sum;
            [[unroll]] for (uint i = 1u; i < TN / 2u; i++) up = n == i ? v[TN / 2u + i] : up;
#if TM == 1
            sum *= x_scaled, up *= x_scaled;
#endif
            float stored = finish(t0 + m, to, sum, glu() ? up : 1.0);
#if TM == 1
            squares += norm_begin(t0, to, stored);
#endif
        }
    }
#if TM == 1
    if (lanes > 1u) squares = set_sum(squares);
    if (lane == 0u) norm_part(t0, s, squares);
#endif
}
