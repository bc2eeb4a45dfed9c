// SPDX-License-Identifier: Apache-2.0
// The levels of IQ1_S and IQ1_M: -1, 0, 1, and 1/8 more, or less where the sign is 1 (8 weights have the same). A
// quant is eight times that.
#define Q_LEVEL_BITS 2
#define Q_ZERO 9
uint q_bytes(uint levels, uint nibble) { return levels * 8u + ((nibble & 1u) != 0u ? 0u : 0x02020202u); }
#include "iq_codes.glsl"
