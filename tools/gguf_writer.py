# SPDX-License-Identifier: Apache-2.0
"""Writes GGUF version 3 files: metadata of every GGUF type, and tensors.

Tensors may be stored as F32, F16, BF16, Q8_0, Q5_0, Q4_0, Q6_K, Q4_K, NVFP4,
Q2_0 or Q1_0; quantizing is done here with numpy, by rounding to the nearest
value that the largest and smallest of a block allow (Q1_0: their mean).  Of the
types with codebooks (IQ1, IQ2, IQ3) there are only blocks of random codes and
the right size, for benches and tests.  A tensor's data may be given as an array
or as a function that returns one, which is called only when that tensor is
written, so that a file larger than memory can be made.  Shapes are given as
numpy has them, outermost first; GGUF stores them innermost first.
"""
import enum
import struct

import numpy as np

MAGIC = b"GGUF"
VERSION = 3
ALIGNMENT = 32
BLOCK = 32
SUPER_BLOCK = 256


class Value(enum.IntEnum):
    """Types of metadata values."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12


class Tensor(enum.IntEnum):
    """Types of tensors."""

    F32 = 0
    F16 = 1
    Q4_0 = 2
    Q5_0 = 6
    Q8_0 = 8
    Q4_K = 12
    Q6_K = 14
    IQ2_XXS = 16
    IQ2_XS = 17
    IQ3_XXS = 18
    IQ1_S = 19
    IQ3_S = 21
    IQ2_S = 22
    IQ1_M = 29
    BF16 = 30
    NVFP4 = 40
    Q1_0 = 41
    Q2_0 = 42


class FileType(enum.IntEnum):
    """Values of general.file_type: what most matrices of a file are stored as."""

    F32 = 0
    F16 = 1
    Q4_0 = 2
    Q8_0 = 7
    Q5_0 = 8
    Q4_K = 14
    Q6_K = 18
    IQ2_XXS = 19
    IQ2_XS = 20
    IQ3_XXS = 23
    IQ1_S = 24
    IQ3_S = 26
    IQ2_S = 28
    IQ1_M = 31
    BF16 = 32
    NVFP4 = 39
    Q1_0 = 40
    Q2_0 = 41


SCALAR_FORMATS = {
    Value.UINT8: "<B", Value.INT8: "<b", Value.UINT16: "<H", Value.INT16: "<h",
    Value.UINT32: "<I", Value.INT32: "<i", Value.FLOAT32: "<f", Value.BOOL: "<?",
    Value.UINT64: "<Q", Value.INT64: "<q", Value.FLOAT64: "<d",
}

# A block's values and the bytes they take.
BLOCKS = {
    Tensor.F32: (1, 4), Tensor.F16: (1, 2), Tensor.BF16: (1, 2),
    Tensor.Q8_0: (BLOCK, 34), Tensor.Q5_0: (BLOCK, 22), Tensor.Q4_0: (BLOCK, 18),
    Tensor.Q6_K: (SUPER_BLOCK, 210), Tensor.Q4_K: (SUPER_BLOCK, 144),
    Tensor.NVFP4: (64, 36), Tensor.Q2_0: (64, 18), Tensor.Q1_0: (128, 18),
}

# Types with codebooks: bytes of a block, and the size (root of the mean square) of random weights whose factor is 1.
CODED = {
    Tensor.IQ2_XXS: (66, 53.0), Tensor.IQ2_XS: (74, 56.5), Tensor.IQ2_S: (82, 56.0), Tensor.IQ3_XXS: (98, 146.5),
    Tensor.IQ3_S: (110, 140.0), Tensor.IQ1_S: (50, 7.07), Tensor.IQ1_M: (56, 7.2),
}
BLOCKS |= {kind: (SUPER_BLOCK, size) for kind, (size, _) in CODED.items()}


def inverse_of(scale):
    """1 / scale, and 0 where the scale is 0."""
    return np.divide(1, scale, out=np.zeros_like(scale), where=scale != 0)


def halves(values):
    """The bytes of one half-precision value per row."""
    return values.astype("<f2").reshape(-1, 1).view(np.uint8)


def quantize_q8_0(values):
    """Rows of blocks: a half-precision scale, then 32 signed bytes."""
    blocks = values.reshape(-1, BLOCK)
    scale = np.abs(blocks).max(axis=1, keepdims=True) / np.float32(127)
    out = np.empty((len(blocks), 2 + BLOCK), np.uint8)
    out[:, :2] = scale.astype("<f2").view(np.uint8)
    out[:, 2:] = np.rint(blocks * inverse_of(scale)).astype(np.int8).view(np.uint8)
    return out


def signed_steps(blocks, steps):
    """Scale and values 0 .. 2 steps - 1 of blocks whose zero is `steps`.

    The value of largest size becomes -steps.
    """
    largest = np.abs(blocks).argmax(axis=1)[:, None]
    scale = np.take_along_axis(blocks, largest, axis=1) / np.float32(-steps)
    values = np.floor(blocks * inverse_of(scale) + np.float32(steps + 0.5))
    return scale, np.clip(values, 0, 2 * steps - 1).astype(np.uint8)


def quantize_q4_0(values):
    """Rows of blocks: a half-precision scale, then 16 bytes of two 4-bit values each."""
    scale, nibbles = signed_steps(values.reshape(-1, BLOCK), 8)
    pairs = nibbles[:, :BLOCK // 2] | nibbles[:, BLOCK // 2:] << 4
    return np.concatenate([halves(scale), pairs], axis=1)


def quantize_q5_0(values):
    """As Q4_0, with the fifth bits of the values in 4 bytes between scale and values."""
    scale, fives = signed_steps(values.reshape(-1, BLOCK), 16)
    high = np.packbits(fives >> 4, axis=1, bitorder="little")
    pairs = (fives[:, :BLOCK // 2] & 15) | (fives[:, BLOCK // 2:] & 15) << 4
    return np.concatenate([halves(scale), high, pairs], axis=1)


def quantize_q4_k(values):
    """Blocks of 8 x 32: scale, scale of minima, 8 pairs of 6 bits, 4-bit values.

    value = scale * pair[0] * quant - minimum * pair[1]
    """
    parts = values.reshape(-1, 8, BLOCK)
    low = np.minimum(parts.min(axis=2), 0)
    step = (parts.max(axis=2) - low) / np.float32(15)
    scale = (step.max(axis=1, keepdims=True) / 63).astype(np.float16).astype(np.float32)
    minimum = (-low.min(axis=1, keepdims=True) / 63).astype(np.float16).astype(np.float32)
    factors = np.clip(np.rint(step * inverse_of(scale)), 0, 63).astype(np.uint8)
    offsets = np.clip(np.rint(-low * inverse_of(minimum)), 0, 63).astype(np.uint8)
    quants = (parts + (minimum * offsets)[:, :, None]) * inverse_of(scale * factors)[:, :, None]
    quants = np.clip(np.rint(quants), 0, 15).astype(np.uint8)
    packed = np.concatenate([factors[:, :4] | factors[:, 4:] >> 4 << 6,
                             offsets[:, :4] | offsets[:, 4:] >> 4 << 6,
                             (factors[:, 4:] & 15) | (offsets[:, 4:] & 15) << 4], axis=1)
    pairs = (quants[:, 0::2] | quants[:, 1::2] << 4).reshape(-1, SUPER_BLOCK // 2)
    return np.concatenate([halves(scale), halves(minimum), packed, pairs], axis=1)


def quantize_q6_k(values):
    """Blocks of 16 x 16: low 4 bits, high 2 bits, 16 signed bytes of scale, scale of these."""
    parts = values.reshape(-1, 16, 16)
    step = np.abs(parts).max(axis=2) / np.float32(32)
    scale = (step.max(axis=1, keepdims=True) / 127).astype(np.float16).astype(np.float32)
    factors = np.clip(np.rint(step * inverse_of(scale)), 0, 127).astype(np.int8)
    quants = np.rint(parts * inverse_of(scale * factors)[:, :, None])
    quants = (np.clip(quants, -32, 31) + 32).astype(np.uint8).reshape(-1, 2, 4, 32)
    low = (quants[:, :, :2] & 15) | (quants[:, :, 2:] & 15) << 4
    high = sum(quants[:, :, i] >> 4 << 2 * i for i in range(4))
    return np.concatenate([low.reshape(-1, 128), high.reshape(-1, 64), factors.view(np.uint8),
                           halves(scale)], axis=1)


# Scales of NVFP4 by their byte (UE4M3, 0x7f not used), and twice the numbers of 4 bits without their sign.
UE4M3 = np.array([(8 + b % 8 if b >= 8 else b % 8) * 2.0 ** (max(b // 8, 1) - 10) for b in range(127)], np.float32)
FP4 = np.array([0, 1, 2, 3, 4, 6, 8, 12], np.float32)


def nearest(values, levels):
    """Numbers of the nearest of the rising levels."""
    return np.digitize(values, (levels[1:] + levels[:-1]) / 2).astype(np.uint8)


def quantize_nvfp4(values):
    """Blocks of 4 x 16: a scale of 8 bits for each 16, then their numbers of 4 bits."""
    parts = values.reshape(-1, 4, 16)
    factors = nearest(np.abs(parts).max(axis=2) / np.float32(6), UE4M3)
    scaled = parts * inverse_of(UE4M3[factors] / 2)[:, :, None]
    numbers = nearest(np.abs(scaled), FP4)
    numbers |= (scaled < 0) * (numbers > 0).astype(np.uint8) << 3
    pairs = (numbers[:, :, :8] | numbers[:, :, 8:] << 4).reshape(-1, 32)
    return np.concatenate([factors, pairs], axis=1)


def quantize_q1_0(values):
    """Blocks of 128: a half-precision scale, the mean of their sizes, then their signs, 1 for positive."""
    blocks = values.reshape(-1, 128)
    return np.concatenate([halves(np.abs(blocks).mean(axis=1)), np.packbits(blocks >= 0, axis=1, bitorder="little")],
                          axis=1)


def quantize_q2_0(values):
    """Blocks of 64: a half-precision scale, then 16 bytes of four 2-bit values each; value = scale * (bits - 1)."""
    blocks = values.reshape(-1, 64)
    scale = np.abs(blocks).max(axis=1, keepdims=True)
    bits = np.clip(np.floor(blocks * inverse_of(scale) + np.float32(1.5)), 0, 3).astype(np.uint8).reshape(-1, 16, 4)
    return np.concatenate([halves(scale), sum(bits[:, :, i] << 2 * i for i in range(4))], axis=1)


def coded(kind):
    """Makes blocks of a type with a codebook: as large as the values, else what their lowest bits happen to be."""
    size, unit = CODED[kind]

    def encode(values):
        blocks = values.reshape(-1, SUPER_BLOCK)
        out = blocks.view(np.uint8)[:, ::4][:, :size].copy()
        factor = np.sqrt((blocks * blocks).mean(axis=1)) / np.float32(unit)
        if kind == Tensor.IQ1_M:  # the factor lies in the top four bits of each of the last four words
            bits = factor.astype("<f2").view("<u2")
            for i in range(4):
                at = size - 7 + 2 * i
                out[:, at] = out[:, at] & 15 | (bits >> 4 * i & 15) << 4
        else:
            out[:, :2] = halves(factor)
        return out

    return encode


def to_bf16(values):
    """The upper halves of the single-precision values, rounded to nearest even."""
    bits = values.reshape(-1).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2")


ENCODERS = {
    Tensor.F32: lambda values: values.astype("<f4"), Tensor.F16: lambda values: values.astype("<f2"),
    Tensor.BF16: to_bf16, Tensor.Q8_0: quantize_q8_0, Tensor.Q5_0: quantize_q5_0,
    Tensor.Q4_0: quantize_q4_0, Tensor.Q6_K: quantize_q6_k, Tensor.Q4_K: quantize_q4_k,
    Tensor.NVFP4: quantize_nvfp4, Tensor.Q2_0: quantize_q2_0, Tensor.Q1_0: quantize_q1_0,
    **{kind: coded(kind) for kind in CODED},
}


def encode_tensor(values, tensor_type):
    """The bytes of an array stored as the given type, as a numpy array."""
    return ENCODERS[tensor_type](np.ascontiguousarray(values, np.float32))


def type_for(tensor_type, columns):
    """The type itself, or for rows that hold no whole super-blocks what is used in its place."""
    if columns % BLOCKS[tensor_type][0] == 0:
        return tensor_type
    others = (*CODED, Tensor.NVFP4, Tensor.Q2_0, Tensor.Q1_0)
    smaller = {Tensor.Q4_K: Tensor.Q5_0, Tensor.Q6_K: Tensor.Q8_0, **dict.fromkeys(others, Tensor.Q4_0)}
    return smaller.get(tensor_type, tensor_type)


def tensor_bytes(shape, tensor_type):
    """How many bytes a tensor of this shape and type takes."""
    block, size = BLOCKS[tensor_type]
    return int(np.prod(shape)) // block * size


def pack_string(text):
    """A string as GGUF stores it; text may be bytes, which need not be UTF-8."""
    data = text if isinstance(text, bytes) else text.encode("utf-8")
    return struct.pack("<Q", len(data)) + data


def pack_value(value_type, value):
    """A metadata value without its type; an array is a pair (type of items, items)."""
    if value_type == Value.STRING:
        return pack_string(value)
    if value_type == Value.ARRAY:
        item_type, items = value
        packed = b"".join(pack_value(item_type, item) for item in items)
        return struct.pack("<IQ", item_type, len(items)) + packed
    return struct.pack(SCALAR_FORMATS[value_type], value)


def padding(size):
    """Zero bytes that bring size up to a multiple of the alignment."""
    return bytes(-size % ALIGNMENT)


class GGUFWriter:
    """Collects metadata and tensors, then writes them with write()."""

    def __init__(self):
        self.metadata = {}
        self.tensors = {}

    def add(self, key, value_type, value):
        """Adds one metadata value."""
        if key in self.metadata:
            raise ValueError(f"metadata key '{key}' is added twice")
        try:
            self.metadata[key] = struct.pack("<I", value_type) + pack_value(value_type, value)
        except struct.error as error:
            raise ValueError(f"metadata key '{key}': {error}") from error

    def add_string(self, key, value):
        self.add(key, Value.STRING, value)

    def add_uint32(self, key, value):
        self.add(key, Value.UINT32, value)

    def add_float32(self, key, value):
        self.add(key, Value.FLOAT32, value)

    def add_bool(self, key, value):
        self.add(key, Value.BOOL, value)

    def add_array(self, key, item_type, items):
        self.add(key, Value.ARRAY, (item_type, items))

    def add_tensor(self, name, shape, tensor_type, data):
        """Adds a tensor; data is an array of this shape or a function that returns one."""
        if name in self.tensors:
            raise ValueError(f"tensor '{name}' is added twice")
        block = BLOCKS[tensor_type][0]
        if shape[-1] % block:
            raise ValueError(f"tensor '{name}': rows of {shape[-1]} values cannot be stored as "
                             f"{tensor_type.name}, which needs a multiple of {block}")
        self.tensors[name] = (tuple(shape), tensor_type, data)

    def header(self):
        """The bytes of everything before the tensors' data, without padding."""
        parts = [MAGIC, struct.pack("<IQQ", VERSION, len(self.tensors), len(self.metadata))]
        for key, value in self.metadata.items():
            parts += [pack_string(key), value]
        offset = 0
        for name, (shape, tensor_type, _) in self.tensors.items():
            parts.append(pack_string(name))
            parts.append(struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape)))
            parts.append(struct.pack("<IQ", tensor_type, offset))
            offset += tensor_bytes(shape, tensor_type)
            offset += len(padding(offset))
        return b"".join(parts)

    def write(self, path, hollow=False):
        """Writes the file and returns its size in bytes; in a hollow one the data is a hole that reads as zeros."""
        with open(path, "wb") as file:
            header = self.header()
            file.write(header + padding(len(header)))
            if hollow:
                sizes = [tensor_bytes(shape, kind) for shape, kind, _ in self.tensors.values()]
                return file.truncate(file.tell() + sum(size + len(padding(size)) for size in sizes))
            for name, (shape, tensor_type, data) in self.tensors.items():
                values = data() if callable(data) else data
                if values.shape != shape:
                    raise ValueError(f"tensor '{name}' has shape {values.shape}, not {shape}")
                encode_tensor(values, tensor_type).tofile(file)
                file.write(padding(tensor_bytes(shape, tensor_type)))
            return file.tell()
