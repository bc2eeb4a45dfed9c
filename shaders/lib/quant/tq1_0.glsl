// SPDX-License-Identifier: Apache-2.0
// TQ1_0: blocks of 256 weights -1, 0, 1, five to a byte in base 3: a byte is ceil(256 * v / 243) of the number v with
// those five digits, so digit n is the top of 3 * (byte * 3^n mod 256). weight = d * (digit - 1).
// Planes: digits 48, more digits 4, d 2 (F16). Digit n of byte l is weight 32n + l (l < 32), 160 + 16n + l - 32 (the
// next 16 bytes), 240 + 4n + l - 48 (the last 4, which have four digits). Chunks are neighbouring weights.
#define Q_CHUNK 32
#define Q_RUNS 1
#define Q_BLOCKS 1
#define Q_BYTES 1
#define Q_ZERO 1
struct q_raw { uvec4 a, b; float scale; };
uint q_power(uint n) { return n < 4u ? (0x1b090301u >> (8u * n)) & 255u : 81u; }
uvec4 q_times(uvec4 w, uvec4 power) /* each byte of w, modulo 256 */
{
    return (((w & 0x00ff00ffu) * power) & 0x00ff00ffu) | ((((w >> 8) & 0x00ff00ffu) * power & 0x00ff00ffu) << 8);
}
q_raw q_make(uvec4 a, uvec4 b, uint last, float d, uint g)
{
    if (g < 5u) return q_raw(q_times(a, uvec4(q_power(g))), q_times(b, uvec4(q_power(g))), d);
    uint first = 2u * (g - 5u);
    uvec4 second = g < 7u ? q_times(a, uvec4(q_power(first + 1u))) : q_times(uvec4(last), uvec4(1u, 3u, 9u, 27u));
    return q_raw(q_times(a, uvec4(q_power(first))), second, d);
}
#define Q_CHUNK_OF(word, quad) \
    uint b = c >> 3, g = c & 7u, block = at + 3u * b; \
    return q_make(quad(block + (g < 5u ? 0u : 2u)), quad(block + 1u), word(4u * (at + q_plane1(k)) + b), \
                  Q_HALF(word, at + q_plane2(k), b), g);
uint q_at(uint c, uint s) { return 8u * c; }
uint q_word(q_raw r, uint i)
{
    uint w = i < 4u ? r.a[i & 3u] : r.b[i & 3u];
    return ((((w & 0x00ff00ffu) * 3u) >> 8) & 0x00030003u) | ((((w >> 8) & 0x00ff00ffu) * 3u) & 0x03000300u);
}
float q_scale(q_raw r, uint s) { return r.scale; }
