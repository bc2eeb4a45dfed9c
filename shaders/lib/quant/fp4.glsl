// SPDX-License-Identifier: Apache-2.0
// Numbers of 4 bits (E2M1: sign, 2 bits of exponent, 1 of mantissa) in the low nibbles of u's bytes, doubled, so that
// they are whole, and 12 more: four bytes of 0 to 24. 0 1 2 3 4 6 8 12 by the low three bits eet: with the high e,
// 4 + 2 * et, and + 2 * t again with both, four at once; bit 3 is the sign.
#define Q_BYTES 1
#define Q_ZERO 12
uint q_fp4(uint u)
{
    uint big = ((u >> 2) & 0x01010101u) | ((u >> 1) & 0x02020202u);
    uint v = (u & 0x07070707u) + (u & big) + ((u & (u >> 1) & big & 0x01010101u) << 1);
    uint sign = u & 0x08080808u, minus = (sign << 1) - (sign >> 3);
    return 0x0c0c0c0cu + (v & ~minus) - (v & minus);
}
