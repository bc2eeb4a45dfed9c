// SPDX-License-Identifier: Apache-2.0
// The levels of IQ2_XXS, IQ2_XS and IQ2_S: 8, 25, 43.
#define Q_LEVEL_BITS 2
uint q_magnitudes(uint levels) { return 0x08080808u + levels * 17u + ((levels >> 1) & 0x01010101u); }
#include "iq_signs.glsl"
#include "iq_codes.glsl"
