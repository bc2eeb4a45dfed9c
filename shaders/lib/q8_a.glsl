// SPDX-License-Identifier: Apache-2.0
// Q8_A: activations of 8 bits, in blocks of 32 of a row: number = scale * quant. The quants are signed bytes, the scale
// is the largest magnitude of the block over 127 (0 if that is below 1e-30: then all quants are 0). A row lies as
// dtype.def says: the quants, then for each block 8 bytes: the scale (f32), and the sums of the quants of the block's
// halves, 16 bits each, the first half's low, which formats with a minimum or a zero point need.
// Positions are in units of 16 bytes.
uint q8_a_scales(uint k) { return k >> 4; }
uint q8_a_row(uint k) { return q8_a_scales(k) + (((k >> 2) + 15u) >> 4); }
