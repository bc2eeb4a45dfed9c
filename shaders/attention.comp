#version 450
// SPDX-License-Identifier: Apache-2.0
// Attention of a tile of BR batch rows of one sequence and HQ query heads that share a kv head, so that a key or value
// is loaded once for BR * HQ queries; decoding is BR = 1. The workgroup walks the cells in blocks, in three steps:
// LANES invocations score 4 neighbouring cells; SHARE invocations a query turn its scores into weights; every
// invocation adds up weighted values of 8 dims (of a share of the cells where there are more invocations than dims).
// Softmax runs online: sums are rescaled when the maximum rises (Milakov & Gimelshein, 2018; Dao et al., 2022). Long
// ranges are cut into a.splits parts of whole pages, each a workgroup's, which attn_merge puts together.
// Tier sub: the workgroup is one whole subgroup, so there are no barriers; tier base: LANES is 1. With PUM_KV_FLOAT K
// and V are F32 or F16: drivers read all of a module, whatever its constants leave out.
// grid (kv_heads * ceil(heads / kv_heads / HQ), ceil(rows / BR), splits).
#extension GL_EXT_control_flow_attributes : require
#extension GL_GOOGLE_include_directive : require
#ifdef PUM_SUB
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#endif
#include "args.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG = 64;
layout(constant_id = 1) const uint HEAD_DIM = 64;
layout(constant_id = 2) const uint KT = 1;
layout(constant_id = 3) const uint VT = 1;
layout(constant_id = 4) const uint BR = 1;
layout(constant_id = 5) const uint HQ = 1;
layout(constant_id = 6) const uint LANES = 1;
layout(constant_id = 7) const uint EXTRA = 0; /* ATTN_* bits */
layout(push_constant) uniform push { pum_args_attn pushed; };
pum_args_attn a; // a copy, see matmul_texel.comp
layout(set = 0, binding = 0) readonly buffer q_words { float q[]; };
layout(set = 0, binding = 1) readonly buffer k_quads { uvec4 k4[]; };
layout(set = 0, binding = 1) readonly buffer k_pairs { uvec2 k2[]; };
layout(set = 0, binding = 1) readonly buffer k_words { uint k1[]; };
layout(set = 0, binding = 2) readonly buffer v_quads { uvec4 v4[]; };
layout(set = 0, binding = 2) readonly buffer v_pairs { uvec2 v2[]; };
layout(set = 0, binding = 2) readonly buffer v_words { uint v1[]; };
layout(set = 0, binding = 3) readonly buffer bias_words { float bias[]; };
layout(set = 0, binding = 4) readonly buffer step_words { uint step_w[]; };
layout(set = 0, binding = 5) writeonly buffer y_words { float y[]; };

const uint NQ = BR * HQ;
const uint GROUPS = (HEAD_DIM + 7u) / 8u;
const uint QUADS = WG / LANES;                      // 4 cells each, of a block
const uint PAGES = (QUADS * 4u + KV_PAGE - 1u) / KV_PAGE; // of a block
const uint IN_PAGE = QUADS < KV_PAGE / 4u ? QUADS : KV_PAGE / 4u; // quads of a block in a page
const uint OWN = (GROUPS + WG - 1u) / WG;           // groups of dims per invocation
const uint FIT = WG >= GROUPS && WG > 16u ? WG / GROUPS : 1u; // few that share cost more than they save
const uint PARTS = FIT < IN_PAGE ? FIT : IN_PAGE;   // invocations that share a group of dims
const uint SPARE = WG / NQ;                         // SHARE: the largest power of two up to it, at least 1
const uint SHARE = SPARE >= 64u ? 64u : SPARE >= 32u ? 32u : SPARE >= 16u ? 16u : SPARE >= 8u ? 8u
                 : SPARE >= 4u ? 4u : SPARE >= 2u ? 2u : 1u;
const uint TURNS = (NQ * SHARE + WG - 1u) / WG;     // queries per invocation: 1 but for tiny workgroups
// Tiny workgroups are software drivers'. They get code that is short to compile, above all for one query, whose scores
// are one round of the workgroup. Constants alone decide, so all others keep theirs.
const bool TINY = WG <= 16u;
const bool ONE = TINY && NQ == 1u && SHARE == WG && QUADS == WG;
const float LOWEST = -3.0e38;
#include "lib/step.glsl"
#include "lib/kv.glsl"
#include "lib/attn.glsl"

shared vec4 qs[NQ * GROUPS * 2u];
shared vec4 ws[NQ * QUADS];                         // scores, then weights of a block
shared float fades[NQ], sums[NQ], tops[NQ];

#ifdef PUM_SUB
#include "lib/subgroup.glsl"
void sync()
{
    subgroupMemoryBarrierShared();
    subgroupBarrier();
}
#define OVER_SHARE(name, merge, sub) \
    float name(float v) \
    { \
        if (ONE) return sub(v); \
        for (uint m = 1u; m < SHARE; m *= 2u) v = merge(v, subgroupShuffleXor(v, m)); \
        return v; \
    }
#else
void sync() { barrier(); }
shared float words[WG];
#define OVER_SHARE(name, merge, sub) \
    float name(float v) \
    { \
        uint first = gl_LocalInvocationID.x / SHARE * SHARE; \
        words[gl_LocalInvocationID.x] = v; \
        sync(); \
        for (uint m = 0u; m < SHARE; m++) v = m == 0u ? words[first] : merge(v, words[first + m]); \
        sync(); \
        return v; \
    }
#endif
float plus(float p, float q) { return p + q; }
OVER_SHARE(share_max, max, subgroupMax)
OVER_SHARE(share_sum, plus, subgroupAdd)

// Batch row of query i; of single rows the same for all invocations, which software drivers compile to much less
#define ROW_OF(i) (BR == 1u ? t0 : min(t0 + (i) / HQ, a.rows - 1u))

uint me, kv_head, head0, heads_here, t0; /* query i: row t0 + i / HQ, head head0 + i % HQ */
uint seq, from, to;                      /* all of it */
vec4 s[NQ], acc[OWN * NQ * 2u];          /* scores of my 4 cells; sums of my dims */
float fade_one;                          /* ONE: instead of fades */
float top[TURNS], sum[TURNS], slope[TURNS]; /* of my queries, */
uint lo[TURNS], hi[TURNS];               /* and the cells they see */

float q_load(uint r, uint head, uint d)
{
    return (TINY && HEAD_DIM % 8u == 0u) || d < HEAD_DIM ? q[r * a.q_stride + a.q_first + head * HEAD_DIM + d] : 0.0;
}

void load_queries()
{
    for (uint i = me; i < NQ * GROUPS * 2u; i += WG) {
        uint n = ONE ? 0u : i / (GROUPS * 2u), d = (ONE ? i : i % (GROUPS * 2u)) * 4u;
        uint r = ROW_OF(n), head = min(head0 + n % HQ, a.heads - 1u);
        qs[i] = vec4(q_load(r, head, d), q_load(r, head, d + 1u), q_load(r, head, d + 2u), q_load(r, head, d + 3u));
    }
}

// What any row sees, cut to this split's share of its pages
void load_ranges()
{
    seq = 0u;
    from = 0xffffffffu;
    to = 0u;
    [[unroll]] for (uint i = 0u; i < BR; i++) {
        bool here = t0 + i < a.rows;
        uint r = here ? t0 + i : t0;
        uint lo = visible_from(r), hi = here ? visible_to(r) : 0u;
        if (lo < hi) {
            seq = step_row(r, a.row_seq);
            from = min(from, lo);
            to = max(to, hi);
        }
    }
    if (a.splits == 1u || from >= to) return;
    uint first = from / KV_PAGE, pages = (to - 1u) / KV_PAGE + 1u - first;
    uint share = max((pages + a.splits - 1u) / a.splits, ATTN_SPLIT_PAGES);
    uint begin = (first + gl_WorkGroupID.z * share) * KV_PAGE;
    from = max(from, begin);
    to = min(to, begin + share * KV_PAGE);
    if (from >= to) from = to = 0u;
}

// Which (page, kv head) a cell that is seen is in
uint place(uint cell)
{
    return kv_page(a.table_at, a.table_stride, seq, cell / KV_PAGE) * a.kv_heads + kv_head;
}

// Cells of a quad that nobody sees are replaced by one that somebody sees: what is loaded are numbers.
uvec4 seen_cells(uint cell)
{
    return min(max(cell + uvec4(0u, 1u, 2u, 3u), from), to - 1u);
}

// A loop over dims that drivers unroll takes them long to compile: of tiny workgroups it begins at a zero that they do
// not see
#define SCORE(load) \
    for (uint g = TINY ? me % LANES + min(a.rows, 1u) - 1u : me % LANES; g < GROUPS; g += LANES) { \
        cells k = load(at, c, only, g); \
        [[unroll]] for (uint i = 0u; i < NQ; i++) { \
            vec4 ql = qs[(i * GROUPS + g) * 2u], qh = qs[(i * GROUPS + g) * 2u + 1u]; \
            s[i] += vec4(dot(ql, k.lo0), dot(ql, k.lo1), dot(ql, k.lo2), dot(ql, k.lo3)); \
            s[i] += vec4(dot(qh, k.hi0), dot(qh, k.hi1), dot(qh, k.hi2), dot(qh, k.hi3)); \
        } \
    }

// Products of the queries with the cells of my quad, into ws
void score_block(uint cell)
{
    uint quad = me / LANES;
    cell += quad * 4u;
    uvec4 seen = seen_cells(cell), c = seen % KV_PAGE;
    vec4 only = mix(vec4(0.0), vec4(1.0), equal(seen, cell + uvec4(0u, 1u, 2u, 3u)));
    uint at = place(seen.x); /* all four are in one page, also where nobody sees the quad */
    [[unroll]] for (uint i = 0u; i < NQ; i++) s[i] = vec4(0.0);
    WHEN(KT == KV_F32) SCORE(k_f32)
    WHEN(KT == KV_F16) SCORE(k_f16)
#ifndef PUM_KV_FLOAT
    WHEN(KT == KV_Q8_0) SCORE(k_q8_0)
    WHEN(KT == KV_Q4_0) SCORE(k_q4_0)
#endif
    [[unroll]] for (uint i = 0u; i < NQ; i++) {
#ifdef PUM_SUB
        for (uint m = 1u; m < LANES; m *= 2u) s[i] += subgroupShuffleXor(s[i], m);
#endif
        if (!ONE && me % LANES == 0u) ws[i * QUADS + quad] = s[i];
    }
}

vec4 finish_scores(vec4 v, uint i, float alibi, uint cell)
{
    v *= a.scale;
    WHEN((EXTRA & ATTN_CAP) != 0u) v = a.softcap * tanh_a(v / a.softcap);
    WHEN((EXTRA & ATTN_ALIBI) != 0u) v += alibi * vec4(cell + uvec4(0u, 1u, 2u, 3u));
    WHEN((EXTRA & ATTN_BIAS) != 0u) {
        uint head = min(head0 + i % HQ, a.heads - 1u), r = ROW_OF(i);
        int most = int(a.bias_max);
        ivec4 far = clamp(int(cell) - int(step_row(r, ROW_CELL)) + ivec4(0, 1, 2, 3), -most, most) + most;
        uvec4 at = head * (2u * a.bias_max + 1u) + uvec4(far);
        v += vec4(bias[at.x], bias[at.y], bias[at.z], bias[at.w]);
    }
    return v;
}

// Scores of my queries in ws become weights, of cells that a query does not see 0
void weigh_block(uint cell)
{
    [[unroll]] for (uint t = 0u; t < TURNS; t++) {
        uint i = ONE ? 0u : me / SHARE + t * (WG / SHARE), at = min(i, NQ - 1u) * QUADS;
        uint first = ONE ? me : i < NQ ? me % SHARE : QUADS; /* all take part in what follows, not all have a query */
        float best = top[t];
        for (uint n = ONE ? 0u : first; n < QUADS; n += SHARE) {
            uint j = ONE ? me : n;
            uvec4 c = cell + j * 4u + uvec4(0u, 1u, 2u, 3u);
            bvec4 seen = bvec4(uvec4(greaterThanEqual(c, uvec4(lo[t]))) & uvec4(lessThan(c, uvec4(hi[t]))));
            vec4 v = mix(vec4(LOWEST), finish_scores(ONE ? s[0] : ws[at + j], i, slope[t], c.x), seen);
            best = max(best, max(max(v.x, v.y), max(v.z, v.w)));
            if (ONE) s[0] = v;
            else ws[at + j] = v;
        }
        best = share_max(best);
        float fade = exp(max(top[t] - best, -100.0));
        top[t] = best;
        sum[t] *= fade;
        for (uint n = ONE ? 0u : first; n < QUADS; n += SHARE) {
            uint j = ONE ? me : n;
            vec4 v = ONE ? s[0] : ws[at + j];
            v = mix(exp(max(v - best, -100.0)), vec4(0.0), lessThanEqual(v, vec4(LOWEST)));
            sum[t] += v.x + v.y + v.z + v.w;
            ws[at + j] = v;
        }
        if (ONE) fade_one = fade;
        else if (first == 0u) fades[i] = fade;
    }
}

// Quads part, part + PARTS, ... of each page of the block, weighted, into acc
#define ADD(load) \
    for (uint p = 0u; p < PAGES; p++) { \
        uint begin = cell + p * KV_PAGE; \
        if (begin >= to) break; \
        uint at = place(max(begin, from)), quads = min(IN_PAGE, (to - begin + 3u) / 4u); \
        for (uint j = part; j < quads; j += PARTS) { \
            uvec4 seen = seen_cells(begin + j * 4u), c = seen % KV_PAGE; \
            vec4 only = mix(vec4(0.0), vec4(1.0), equal(seen, begin + j * 4u + uvec4(0u, 1u, 2u, 3u))); \
            [[unroll]] for (uint o = 0u; o < OWN; o++) { \
                uint g = OWN == 1u ? me % GROUPS : min(me + o * WG, GROUPS - 1u); \
                cells v = load(at, c, only, g); \
                [[unroll]] for (uint i = 0u; i < NQ; i++) { \
                    vec4 w = ws[i * QUADS + p * IN_PAGE + j]; \
                    acc[(o * NQ + i) * 2u] += w.x * v.lo0 + w.y * v.lo1 + w.z * v.lo2 + w.w * v.lo3; \
                    acc[(o * NQ + i) * 2u + 1u] += w.x * v.hi0 + w.y * v.hi1 + w.z * v.hi2 + w.w * v.hi3; \
                } \
            } \
        } \
    }

void add_block(uint cell, uint part)
{
    [[unroll]] for (uint i = 0u; i < NQ; i++) {
        float fade = ONE ? fade_one : fades[i];
        [[unroll]] for (uint o = 0u; o < OWN; o++) {
            acc[(o * NQ + i) * 2u] *= fade;
            acc[(o * NQ + i) * 2u + 1u] *= fade;
        }
    }
    WHEN(VT == KV_F32) ADD(v_f32)
    WHEN(VT == KV_F16) ADD(v_f16)
#ifndef PUM_KV_FLOAT
    WHEN(VT == KV_Q8_0) ADD(v_q8_0)
    WHEN(VT == KV_Q4_0) ADD(v_q4_0)
#endif
}

// The sums of all, over the invocations that shared a group of dims, into qs: the queries are done with
void gather(uint part)
{
    for (uint p = 0u; p < PARTS; p++) {
        [[unroll]] for (uint o = 0u; o < OWN; o++) {
            uint g = OWN == 1u ? me % GROUPS : me + o * WG;
            if (part != p || g >= GROUPS) continue;
            [[unroll]] for (uint i = 0u; i < NQ; i++) {
                uint at = (i * GROUPS + g) * 2u, from = (o * NQ + i) * 2u;
                qs[at] = p == 0u ? acc[from] : qs[at] + acc[from];
                qs[at + 1u] = p == 0u ? acc[from + 1u] : qs[at + 1u] + acc[from + 1u];
            }
        }
        sync();
    }
}

void store()
{
    for (uint n = me; n < NQ * HEAD_DIM; n += WG) {
        uint i = n / HEAD_DIM, d = n % HEAD_DIM, r = t0 + i / HQ;
        if (r >= a.rows || i % HQ >= heads_here) continue;
        float total = sums[i], value = qs[(i * GROUPS * 2u) + d / 4u][d % 4u];
        y[(gl_WorkGroupID.z * a.rows + r) * a.y_stride + (head0 + i % HQ) * HEAD_DIM + d] =
            total > 0.0 ? value / total : 0.0;
    }
    WHEN((EXTRA & ATTN_PARTS) != 0u) { /* log of the sum of exponentials, behind all the vectors */
        for (uint i = me; i < NQ; i += WG) {
            uint r = t0 + i / HQ;
            if (r >= a.rows || i % HQ >= heads_here) continue;
            float total = sums[i];
            y[a.splits * a.rows * a.y_stride + (gl_WorkGroupID.z * a.rows + r) * a.heads + head0 + i % HQ] =
                total > 0.0 ? tops[i] + log(total) : LOWEST;
        }
    }
}

void main()
{
    a = pushed;
    uint shared_by = a.heads / a.kv_heads, per_kv = (shared_by + HQ - 1u) / HQ;
    me = gl_LocalInvocationID.x;
    kv_head = gl_WorkGroupID.x / per_kv;
    head0 = kv_head * shared_by + gl_WorkGroupID.x % per_kv * HQ;
    heads_here = min(HQ, (kv_head + 1u) * shared_by - head0);
    t0 = gl_WorkGroupID.y * BR;
    uint part = OWN == 1u ? me / GROUPS : 0u;
    load_ranges();
    load_queries();
    [[unroll]] for (uint t = 0u; t < TURNS; t++) {
        uint i = min(me / SHARE + t * (WG / SHARE), NQ - 1u), r = ROW_OF(i);
        top[t] = LOWEST;
        sum[t] = slope[t] = 0.0;
        WHEN((EXTRA & ATTN_ALIBI) != 0u) slope[t] = alibi_slope(min(head0 + i % HQ, a.heads - 1u));
        lo[t] = TINY && BR == 1u ? from : max(visible_from(r), from);
        hi[t] = TINY && BR == 1u ? to : min(visible_to(r), to);
    }
    [[unroll]] for (uint i = 0u; i < OWN * NQ * 2u; i++) acc[i] = vec4(0.0);
    sync();
    const uint block = QUADS * 4u;
    for (uint cell = from / block * block; cell < to; cell += block) {
        score_block(cell);
        sync();
        weigh_block(cell);
        sync();
        if (part < PARTS) add_block(cell, part);
        sync();
    }
    [[unroll]] for (uint t = 0u; t < TURNS; t++) {
        uint i = ONE ? 0u : me / SHARE + t * (WG / SHARE);
        float total = share_sum(sum[t]);
        if (i < NQ && me % SHARE == 0u) {
            sums[i] = total;
            tops[i] = top[t];
        }
    }
    gather(part);
    store();
}
