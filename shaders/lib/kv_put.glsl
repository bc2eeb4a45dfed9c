// SPDX-License-Identifier: Apache-2.0
// How an invocation stores ITEM neighbouring dims of a vector in the cache, in any type. KV_PUT(put, ...) makes
// put(at, c, d0); two(d) is what dims d and d + 1 are, for even d: 0 from head_dim on. Needs KT, VT and a.head_dim.
// Two cells' scales share a word, so that storing one takes atomics.
#define WHEN(condition) if (condition) for (uint once_ = 0u; once_ < uint(condition); once_++) /* see attn.glsl */
#ifdef PUM_KV_FLOAT
const uint ITEM = 2u;
#else
const uint ITEM = KT > KV_F16 || VT > KV_F16 ? 32u : 2u;
#endif
uint items_of_head() { return (a.head_dim + 7u) / 8u * 8u / ITEM; } /* the cache has whole groups of 8 dims */

uint pack4(vec4 v) { uvec4 u = uvec4(v); return u.x | u.y << 8 | u.z << 16 | u.w << 24; }
uint pack8(vec4 lo, vec4 hi)
{
    uvec4 u = uvec4(lo), w = uvec4(hi);
    return u.x | u.y << 4 | u.z << 8 | u.w << 12 | w.x << 16 | w.y << 20 | w.z << 24 | w.w << 28;
}

// at: number of the (page, kv head); c: cell in the page; d0: first dim of the item
#define KV_PUT_FLOATS(name, type, two, pairs, words) \
    void name##_floats(uint at, uint c, uint d0) \
    { \
        uint groups = (a.head_dim + 7u) / 8u; \
        for (uint j = 0u; j < ITEM; j += 2u) { \
            vec2 v = two(d0 + j); \
            uint i = (at * KV_PAGE + c) * groups * 4u + (d0 + j) / 2u; \
            if (type == KV_F16) words[i] = packHalf2x16(v); \
            else pairs[i] = floatBitsToUint(v); \
        } \
    }

#define KV_PUT_BLOCKS(name, type, two, pairs, words) \
    void name##_scale(uint word, uint c, float scale) \
    { \
        uint half_ = packHalf2x16(vec2(scale, 0.0)), shift = c % 2u * 16u; \
        atomicAnd(words[word], ~(0xffffu << shift)); \
        atomicOr(words[word], half_ << shift); \
    } \
    void name##_blocks(uint at, uint c, uint d0) \
    { \
        /* twice over the block, the first time for its largest value (of q4_0: with its sign) */ \
        uint bits = type == KV_Q8_0 ? 8u : 4u, groups = (a.head_dim + 7u) / 8u; \
        uint page = at * (a.head_dim * (bits * 4u + 2u) / 4u); /* words of 32 cells */ \
        float most = 0.0, scale = 0.0, inverse = 0.0; \
        for (uint i = 0u; i < 8u; i++) { \
            uint g = d0 / 8u + i % 4u; \
            vec2 v[4]; \
            for (uint j = 0u; j < 4u; j++) v[j] = two(g * 8u + 2u * j); \
            vec4 lo = vec4(v[0], v[1]), hi = vec4(v[2], v[3]); \
            if (i < 4u) { \
                [[unroll]] for (uint j = 0u; j < 4u; j++) { \
                    if (abs(lo[j]) > abs(most)) most = lo[j]; \
                    if (abs(hi[j]) > abs(most)) most = hi[j]; \
                } \
                scale = type == KV_Q8_0 ? abs(most) * (1.0 / 127.0) : most * -0.125; \
                inverse = scale != 0.0 ? 1.0 / scale : 0.0; \
            } else if (type == KV_Q8_0) { \
                vec4 l = clamp(roundEven(lo * inverse) + 128.0, 1.0, 255.0); \
                vec4 h = clamp(roundEven(hi * inverse) + 128.0, 1.0, 255.0); \
                pairs[(page + (c * groups + g) * 2u) / 2u] = uvec2(pack4(l), pack4(h)); \
            } else { \
                words[page + c * groups + g] = pack8(clamp(floor(lo * inverse + 8.5), 0.0, 15.0), \
                                                     clamp(floor(hi * inverse + 8.5), 0.0, 15.0)); \
            } \
        } \
        name##_scale(page + KV_PAGE * groups * bits / 4u + (d0 / 32u * KV_PAGE + c) / 2u, c, scale); \
    }

#ifdef PUM_KV_FLOAT
#define KV_PUT(name, type, two, pairs, words) \
    KV_PUT_FLOATS(name, type, two, pairs, words) \
    void name(uint at, uint c, uint d0) { name##_floats(at, c, d0); }
#else
#define KV_PUT(name, type, two, pairs, words) \
    KV_PUT_FLOATS(name, type, two, pairs, words) \
    KV_PUT_BLOCKS(name, type, two, pairs, words) \
    void name(uint at, uint c, uint d0) \
    { \
        WHEN(type == KV_F32 || type == KV_F16) name##_floats(at, c, d0); \
        WHEN(type == KV_Q8_0 || type == KV_Q4_0) name##_blocks(at, c, d0); \
    }
#endif
