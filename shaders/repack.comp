#version 450
// SPDX-License-Identifier: Apache-2.0
// Rows of blocks, as files have them, to planes, as the mat-vecs read them (lib/planes.glsl): nothing but bytes that
// move, so one pipeline serves every format and what differs are arguments. An invocation gathers one word; those of a
// subgroup write neighbouring ones. Where a plane's share of a block is whole words, a word is two loads at most, since
// blocks begin anywhere; else (scales of 1 or 2 bytes, a small part of the row) it is four.
#extension GL_GOOGLE_include_directive : require
#include "args.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG = 64;
layout(push_constant) uniform push { pum_args_repack a; };
layout(set = 0, binding = 0) readonly buffer x_words { uint x[]; };
layout(set = 0, binding = 1) writeonly buffer q_words { uint q[]; };

uint byte_at(uint i) { return (x[i >> 2] >> (8u * (i & 3u))) & 255u; }

uint word_at(uint i)
{
    uint shift = 8u * (i & 3u), low = x[i >> 2] >> shift;
    return shift == 0u ? low : low | x[(i >> 2) + 1u] << (32u - shift);
}

uint plane_words(uint bytes) { return (a.blocks * bytes + 15u) / 16u * 4u; }

void main()
{
    uint i = (gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x) * WG + gl_LocalInvocationID.x;
    uint end0 = plane_words(a.bytes0), end1 = end0 + plane_words(a.bytes1), row_words = end1 + plane_words(a.bytes2);
    uint row = i / row_words, w = i - row * row_words;
    if (row >= a.rows) return;
    uint at = a.at0, bytes = a.bytes0;
    if (w >= end1) w -= end1, at = a.at2, bytes = a.bytes2;
    else if (w >= end0) w -= end0, at = a.at1, bytes = a.bytes1;
    at += a.first + row * a.blocks * a.block_bytes;
    uint p = 4u * w, end = a.blocks * bytes, word = 0u; // bytes of the plane
    if (p < end && (bytes & 3u) == 0u) {
        uint block = p / bytes;
        word = word_at(at + block * a.block_bytes + p - block * bytes);
    } else {
        for (uint j = 0u; j < 4u && p < end; j++, p++) {
            uint block = p / bytes;
            word |= byte_at(at + block * a.block_bytes + p - block * bytes) << (8u * j);
        }
    }
    q[i] = word;
}
