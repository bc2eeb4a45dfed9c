// SPDX-License-Identifier: Apache-2.0
// IQ2 and IQ3: a level is a magnitude, q_magnitudes, and each weight has a bit for its sign.
#define Q_SIGNED 1
#define Q_ZERO 0
// the magnitude, negative where the sign's bit is set; no magnitude is 0
uint q_bytes(uint levels, uint nibble)
{
    uint minus = q_spread(nibble);
    return (q_magnitudes(levels) ^ (minus * 255u)) + minus;
}
