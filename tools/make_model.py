#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes a GGUF model of LLaMA architecture with random weights, for tests and benches.

The shape is free, or one of the presets, of which single values can be
overridden.  Matrices are stored in the type asked for (Q4_K, Q6_K and those with
codebooks become Q5_0, Q8_0 and Q4_0 where rows are no multiple of 256) and the
weights of norms as F32.  The vocabulary is a synthetic one: single characters (for llama also
bytes), then joins of letters, short ones first.  The same options and seed give
the same file.
"""
import argparse
import itertools
import math
import sys

import numpy as np

from gguf_writer import FileType, GGUFWriter, Tensor, Value, type_for

PRESETS = {
    "15m": dict(layers=6, embd=288, heads=6, kv_heads=6, ffn=768, vocab=32000, ctx=1024),
    "110m": dict(layers=12, embd=768, heads=12, kv_heads=12, ffn=2048, vocab=32000, ctx=1024),
    "tinyllama-4l": dict(layers=4, embd=2048, heads=32, kv_heads=4, ffn=5632, vocab=32000,
                         ctx=2048),
    "7b": dict(layers=32, embd=4096, heads=32, kv_heads=8, ffn=14336, vocab=32000, ctx=4096),
}
DEFAULTS = dict(layers=2, embd=64, heads=4, kv_heads=None, ffn=None, vocab=512, ctx=256)

ROPE_BASE = 10000.0
ROPE_FACTOR = 4.0
NORM_EPSILON = 1e-5
LETTERS = "etaoinshrdlcumwfgypbvkjxqz"
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6


def words(space):
    """Pairs (left, letter) whose joins are all the pieces of two or more letters, short first.

    Every left part is the space mark, a letter or an earlier join.
    """
    level = [space, *LETTERS]
    while True:
        pairs = list(itertools.product(level, LETTERS))
        yield from pairs
        level = [left + letter for left, letter in pairs]


def llama_vocabulary(size):
    """Pieces, scores and types of a SentencePiece-style vocabulary with byte fallback."""
    pieces = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    types = [UNKNOWN, CONTROL, CONTROL] + [BYTE] * 256
    characters = ["\u2581", *LETTERS, *LETTERS.upper(), *".,!?'\"-:;0123456789()"]
    least = len(pieces) + len(characters)
    if size < least:
        raise ValueError(f"a vocabulary for the llama tokenizer needs at least {least} pieces")
    joins = [left + letter for left, letter in itertools.islice(words("\u2581"), size - least)]
    scores = [0.0] * len(pieces) + [-1e6 - rank for rank in range(len(characters))]
    scores += [-float(rank) for rank in range(len(joins))]
    types += [NORMAL] * (size - len(pieces))
    return pieces + characters + joins, scores, types


def byte_characters():
    """The printable characters that stand for the 256 bytes in a gpt2 vocabulary."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = itertools.count(256)
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


def gpt2_vocabulary(size):
    """Pieces, merges and types of a byte-level vocabulary; the last piece ends a text."""
    pieces = byte_characters()
    if size < len(pieces) + 1:
        raise ValueError(f"a vocabulary for the gpt2 tokenizer needs at least "
                         f"{len(pieces) + 1} pieces")
    merges = list(itertools.islice(words("\u0120"), size - len(pieces) - 1))
    pieces += [left + letter for left, letter in merges] + ["<|endoftext|>"]
    types = [NORMAL] * (size - 1) + [CONTROL]
    return pieces, [f"{left} {letter}" for left, letter in merges], types


def add_tokenizer(writer, kind, size):
    """Adds the metadata of a synthetic tokenizer."""
    writer.add_string("tokenizer.ggml.model", kind)
    if kind == "llama":
        pieces, scores, types = llama_vocabulary(size)
        writer.add_array("tokenizer.ggml.tokens", Value.STRING, pieces)
        writer.add_array("tokenizer.ggml.scores", Value.FLOAT32, scores)
        writer.add_array("tokenizer.ggml.token_type", Value.INT32, types)
        writer.add_uint32("tokenizer.ggml.bos_token_id", 1)
        writer.add_uint32("tokenizer.ggml.eos_token_id", 2)
        writer.add_uint32("tokenizer.ggml.unknown_token_id", 0)
        writer.add_bool("tokenizer.ggml.add_bos_token", True)
        writer.add_bool("tokenizer.ggml.add_eos_token", False)
        writer.add_bool("tokenizer.ggml.add_space_prefix", True)
    else:
        pieces, merges, types = gpt2_vocabulary(size)
        writer.add_string("tokenizer.ggml.pre", "gpt-2")
        writer.add_array("tokenizer.ggml.tokens", Value.STRING, pieces)
        writer.add_array("tokenizer.ggml.token_type", Value.INT32, types)
        writer.add_array("tokenizer.ggml.merges", Value.STRING, merges)
        writer.add_uint32("tokenizer.ggml.bos_token_id", size - 1)
        writer.add_uint32("tokenizer.ggml.eos_token_id", size - 1)
        writer.add_bool("tokenizer.ggml.add_bos_token", False)
        writer.add_bool("tokenizer.ggml.add_eos_token", False)


def llama3_factors(head_size, context):
    """What each rotary frequency is divided by, of a model stretched to this context."""
    low, high, factor = 1.0, 4.0, 8.0
    original = context / factor
    factors = []
    for pair in range(head_size // 2):
        turns = original * ROPE_BASE ** (-2 * pair / head_size) / (2 * math.pi)
        smooth = min(1.0, max(0.0, (turns - low) / (high - low)))
        factors.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(factors, np.float32)


def add_rope_scaling(writer, scaling, head_size, context):
    """Adds what stretches the rotary positions; llama3 is a tensor of factors."""
    if scaling in ("linear", "yarn"):
        writer.add_string("llama.rope.scaling.type", scaling)
        writer.add_float32("llama.rope.scaling.factor", ROPE_FACTOR)
        writer.add_uint32("llama.rope.scaling.original_context_length",
                          max(1, int(context / ROPE_FACTOR)))
    if scaling == "llama3":
        factors = llama3_factors(head_size, context)
        writer.add_tensor("rope_freqs.weight", factors.shape, Tensor.F32, factors)


def add_weights(writer, args):
    """Adds the tensors; matrices are scaled so that every layer keeps its input's size."""
    rng = np.random.default_rng(args.seed)
    matrix_type = Tensor[args.type.upper()]
    head_size = args.embd // args.heads

    # of q, k, v, o, gate, up, down: alike in one layer where engines join matrices, then all different
    exponents = itertools.cycle((-9, -9, -9, -8, -7, -7, -6, -6, -9, -8, -7, -9, -8, -7))

    def matrix(name, rows, columns, may_have_scale=True):
        scale = np.float32(2.0 ** next(exponents) if args.scales and may_have_scale else 1)

        def make():
            values = rng.standard_normal((rows, columns), dtype=np.float32)
            return np.multiply(values, np.float32(columns ** -0.5) / scale, out=values)
        writer.add_tensor(name, (rows, columns), type_for(matrix_type, columns), make)
        if scale != 1:
            writer.add_tensor(name.removesuffix("weight") + "scale", (1,), Tensor.F32, np.array([scale]))

    def experts(name, rows, columns):
        count = args.experts
        scales = np.float32(2.0) ** np.float32([next(exponents) if args.scales else 0 for _ in range(count)])

        def make():
            values = rng.standard_normal((count, rows, columns), dtype=np.float32)
            return np.multiply(values, np.float32(columns ** -0.5) / scales[:, None, None], out=values)
        writer.add_tensor(name, (count, rows, columns), type_for(matrix_type, columns), make)
        if args.scales:
            writer.add_tensor(name.removesuffix("weight") + "scale", (count,), Tensor.F32, scales)

    def norm(name):
        def make():
            return 1 + np.float32(0.1) * rng.standard_normal(args.embd, dtype=np.float32)
        writer.add_tensor(name, (args.embd,), Tensor.F32, make)

    matrix("token_embd.weight", args.vocab, args.embd, False)
    for layer in range(args.layers):
        block = f"blk.{layer}."
        norm(block + "attn_norm.weight")
        matrix(block + "attn_q.weight", args.heads * head_size, args.embd)
        matrix(block + "attn_k.weight", args.kv_heads * head_size, args.embd)
        matrix(block + "attn_v.weight", args.kv_heads * head_size, args.embd)
        matrix(block + "attn_output.weight", args.embd, args.heads * head_size)
        norm(block + "ffn_norm.weight")
        if args.experts:
            matrix(block + "ffn_gate_inp.weight", args.experts, args.embd, False)
        many, kind = (experts, "_exps") if args.experts else (matrix, "")
        many(f"{block}ffn_gate{kind}.weight", args.ffn, args.embd)
        many(f"{block}ffn_up{kind}.weight", args.ffn, args.embd)
        many(f"{block}ffn_down{kind}.weight", args.embd, args.ffn)
    norm("output_norm.weight")
    if args.untied:
        matrix("output.weight", args.vocab, args.embd)


def make_model(args):
    """Writes the file and returns its size in bytes."""
    head_size = args.embd // args.heads
    writer = GGUFWriter()
    writer.add_string("general.architecture", "llama")
    writer.add_string("general.name", f"random {args.preset or 'weights'}")
    writer.add_uint32("general.file_type", FileType[args.type.upper()])
    writer.add_uint32("llama.context_length", args.ctx)
    writer.add_uint32("llama.embedding_length", args.embd)
    writer.add_uint32("llama.block_count", args.layers)
    writer.add_uint32("llama.feed_forward_length", args.ffn)
    writer.add_uint32("llama.attention.head_count", args.heads)
    writer.add_uint32("llama.attention.head_count_kv", args.kv_heads)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", NORM_EPSILON)
    writer.add_uint32("llama.rope.dimension_count", head_size)
    writer.add_float32("llama.rope.freq_base", ROPE_BASE)
    writer.add_uint32("llama.vocab_size", args.vocab)
    if args.experts:
        writer.add_uint32("llama.expert_count", args.experts)
        writer.add_uint32("llama.expert_used_count", min(2, args.experts))
    add_rope_scaling(writer, args.rope_scaling, head_size, args.ctx)
    add_tokenizer(writer, args.tokenizer, args.vocab)
    add_weights(writer, args)
    return writer.write(args.out, args.hollow)


def parse_arguments(argv=None):
    """The command line, with presets and defaults filled in and the shape checked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, metavar="FILE", help="the GGUF file to write")
    parser.add_argument("--preset", choices=PRESETS, help="a shape; single values override it")
    parser.add_argument("--layers", type=int)
    parser.add_argument("--embd", type=int, help="size of the embeddings")
    parser.add_argument("--heads", type=int)
    parser.add_argument("--kv-heads", type=int, help="default: as many as heads")
    parser.add_argument("--ffn", type=int, help="default: 8/3 of the embeddings, in 32s")
    parser.add_argument("--vocab", type=int)
    parser.add_argument("--ctx", type=int)
    parser.add_argument("--type", choices=[kind.name.lower() for kind in Tensor], default="f32")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--untied", action="store_true", help="give the output its own matrix")
    parser.add_argument("--experts", type=int, default=0, help="so many in an MLP's place, two used at once")
    parser.add_argument("--scales", action="store_true",
                        help="matrices stored as a multiple, with a tensor that says of what, as in NVFP4")
    parser.add_argument("--rope-scaling", choices=["none", "linear", "yarn", "llama3"],
                        default="none")
    parser.add_argument("--hollow", action="store_true",
                        help="no weights, a hole in their place: enough for `pumice plan`, takes no disk")
    parser.add_argument("--tokenizer", choices=["llama", "gpt2"], default="llama")
    args = parser.parse_args(argv)
    for name, value in PRESETS.get(args.preset, DEFAULTS).items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    if args.kv_heads is None:
        args.kv_heads = args.heads
    if args.ffn is None:
        args.ffn = -(-args.embd * 8 // 3 // 32) * 32
    for name in DEFAULTS:
        if getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    if args.scales and args.hollow:
        parser.error("--scales are numbers, which --hollow files do not have")
    if args.embd % (2 * args.heads):
        parser.error(f"--embd {args.embd} is not an even multiple of --heads {args.heads}")
    if args.heads % args.kv_heads:
        parser.error(f"--heads {args.heads} is not a multiple of --kv-heads {args.kv_heads}")
    return args


def main():
    args = parse_arguments()
    try:
        size = make_model(args)
    except (OSError, ValueError) as error:
        sys.exit(f"make_model.py: {error}")
    print(f"{args.out}: {size} bytes")


if __name__ == "__main__":
    main()
