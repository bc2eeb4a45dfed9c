#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Turns a SPIR-V module with NV cooperative matrices into one with KHR cooperative matrices.

Compilers older than 2023 know GL_NV_cooperative_matrix alone. Its types lack the use (A, B or accumulator) that KHR's
have; a shader hides it in the scope, which they accept as any number: subgroup (3) | (use + 1) << 8, so 0x103 is an A,
0x203 a B, 0x303 an accumulator matrix. The KHR extension demands the Vulkan memory model (#pragma
use_vulkan_memory_model). Floating-point matrices only; .length() is not supported.

usage: coop_spirv.py IN OUT        KHR
       coop_spirv.py --nv IN OUT   still NV, with a plain scope: what an old spirv-val can check
"""
import struct
import sys

EXTENSION, CAPABILITY, TYPE_INT, CONSTANT, CONSTANT_TRUE, CONSTANT_FALSE = 10, 17, 21, 43, 41, 42
SOURCE_EXTENSION, SPEC_OP = 4, 52
NV_CAPABILITY, NV_TYPE, NV_LOAD, NV_STORE, NV_MUL_ADD, NV_LENGTH = 5357, 5358, 5359, 5360, 5361, 5362
KHR_CAPABILITY, KHR_TYPE, KHR_LOAD, KHR_STORE, KHR_MUL_ADD = 6022, 4456, 4457, 4458, 4459
VULKAN_MEMORY_MODEL = 5345
SUBGROUP = 3
USE_NAMES = ["A", "B", "accumulator"]


def die(text):
    sys.exit(f"coop_spirv: {text}")


def instruction(op, *operands):
    return [(len(operands) + 1) << 16 | op, *operands]


def string_words(text):
    data = text.encode() + b"\0"
    data += b"\0" * (-len(data) % 4)
    return struct.unpack(f"<{len(data) // 4}I", data)


def text_of(words):
    return struct.pack(f"<{len(words)}I", *words).split(b"\0")[0].decode()


class Rewriter:
    """One module: what it declares, then its instructions rewritten one by one."""

    def __init__(self, words, keep_nv):
        self.words, self.keep_nv, self.bound = words, keep_nv, words[3]
        self.constants, self.booleans, self.matrix_types, self.value_types = {}, {}, {}, {}
        self.uint, self.declared, self.uses = None, False, []
        capabilities = set()
        for op, w in self.instructions():
            if op == CAPABILITY:
                capabilities.add(w[0])
            elif op == TYPE_INT and w[1:] == [32, 0]:
                self.uint = w[0]
            elif op == CONSTANT:
                self.constants[w[1]] = w[2]
            elif op in (CONSTANT_TRUE, CONSTANT_FALSE):
                self.booleans[w[1]] = op == CONSTANT_TRUE
            elif op == NV_TYPE:
                self.matrix_types[w[0]] = self.use_of(w[2])
            elif op == NV_LENGTH or (op == SPEC_OP and w[2] == NV_LENGTH):
                die("the length of a matrix is not supported")
            elif len(w) >= 2 and w[0] in self.matrix_types:
                self.value_types[w[1]] = w[0]
        if VULKAN_MEMORY_MODEL not in capabilities:
            die("the Vulkan memory model is needed: #pragma use_vulkan_memory_model")

    def instructions(self):
        at = 5
        while at < len(self.words):
            count, op = self.words[at] >> 16, self.words[at] & 0xffff
            if count == 0 or at + count > len(self.words):
                die("broken instruction")
            yield op, self.words[at + 1 : at + count]
            at += count

    def use_of(self, scope):
        value = self.constants.get(scope)
        if value is None or value & 0xff != SUBGROUP or not 1 <= value >> 8 <= 3:
            die("the scope of a matrix must be 0x103 (A), 0x203 (B) or 0x303 (accumulator)")
        return (value >> 8) - 1

    def new_constant(self, value):
        self.bound += 1
        return self.bound - 1, instruction(CONSTANT, self.uint, self.bound - 1, value)

    def layout(self, flag):
        """Id of the memory layout: 0 = rows, 1 = columns, the values of the uses A and B."""
        if flag not in self.booleans:
            die("whether a matrix lies in columns must be a literal")
        return self.uses[self.booleans[flag]]

    def declare(self):
        """The constants that the first matrix type needs before it."""
        out = []
        self.scope, words = self.new_constant(SUBGROUP)
        out += words
        for value in range(3):
            use, words = self.new_constant(value)
            self.uses.append(use)
            out += words
        self.declared = True
        return out

    def type_words(self, w):
        out = [] if self.declared else self.declare()
        if self.keep_nv:
            return out + instruction(NV_TYPE, w[0], w[1], self.scope, w[3], w[4])
        return out + instruction(KHR_TYPE, w[0], w[1], self.scope, w[3], w[4], self.uses[self.matrix_types[w[0]]])

    def mul_add(self, w):
        for operand, use in zip(w[2:5], (0, 1, 2)):
            if self.matrix_types.get(self.value_types.get(operand)) != use:
                die(f"an operand of a multiply-add is no {USE_NAMES[use]} matrix")
        return instruction(KHR_MUL_ADD, *w)

    def rewrite(self, op, w):
        if op == SOURCE_EXTENSION and "cooperative_matrix" in text_of(w):
            return []
        if op == NV_TYPE:
            return self.type_words(w)
        if self.keep_nv:
            return instruction(op, *w)
        if op == CAPABILITY and w[0] == NV_CAPABILITY:
            return instruction(CAPABILITY, KHR_CAPABILITY)
        if op == EXTENSION and text_of(w) == "SPV_NV_cooperative_matrix":
            return instruction(EXTENSION, *string_words("SPV_KHR_cooperative_matrix"))
        if op == NV_LOAD:  # type, result, pointer, stride, in columns, memory operands
            return instruction(KHR_LOAD, w[0], w[1], w[2], self.layout(w[4]), w[3], *w[5:])
        if op == NV_STORE:  # pointer, matrix, stride, in columns, memory operands
            return instruction(KHR_STORE, w[0], w[1], self.layout(w[3]), w[2], *w[4:])
        if op == NV_MUL_ADD:
            return self.mul_add(w)
        return instruction(op, *w)

    def run(self):
        out = list(self.words[:5])
        for op, w in self.instructions():
            out += self.rewrite(op, w)
        out[3] = self.bound
        return out


def main():
    keep_nv = sys.argv[1:2] == ["--nv"]
    paths = sys.argv[2:] if keep_nv else sys.argv[1:]
    if len(paths) != 2:
        sys.exit(__doc__)
    with open(paths[0], "rb") as file:
        data = file.read()
    if len(data) < 20 or len(data) % 4 or data[:4] != b"\x03\x02\x23\x07":
        die(f"{paths[0]} is not SPIR-V")
    words = Rewriter(list(struct.unpack(f"<{len(data) // 4}I", data)), keep_nv).run()
    with open(paths[1], "wb") as file:
        file.write(struct.pack(f"<{len(words)}I", *words))


if __name__ == "__main__":
    main()
