# SPDX-License-Identifier: Apache-2.0
"""Writes GGUF version 3 files: metadata of every GGUF type, and tensors.

Tensors may be stored as F32, F16, BF16, Q8_0 or Q4_0; quantizing is done here
with numpy.  A tensor's data may be given as an array or as a function that
returns one, which is called only when that tensor is written, so that a file
larger than memory can be made.  Shapes are given as numpy has them, outermost
first; GGUF stores them innermost first.
"""
import enum
import struct

import numpy as np

MAGIC = b"GGUF"
VERSION = 3
ALIGNMENT = 32
BLOCK = 32


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
    Q8_0 = 8
    BF16 = 30


class FileType(enum.IntEnum):
    """Values of general.file_type: what most matrices of a file are stored as."""

    F32 = 0
    F16 = 1
    Q4_0 = 2
    Q8_0 = 7
    BF16 = 32


SCALAR_FORMATS = {
    Value.UINT8: "<B", Value.INT8: "<b", Value.UINT16: "<H", Value.INT16: "<h",
    Value.UINT32: "<I", Value.INT32: "<i", Value.FLOAT32: "<f", Value.BOOL: "<?",
    Value.UINT64: "<Q", Value.INT64: "<q", Value.FLOAT64: "<d",
}

# Bytes that one block of BLOCK values takes.
BLOCK_BYTES = {
    Tensor.F32: 128, Tensor.F16: 64, Tensor.BF16: 64, Tensor.Q8_0: 34, Tensor.Q4_0: 18,
}
QUANTIZED = (Tensor.Q8_0, Tensor.Q4_0)


def quantize_q8_0(values):
    """Rows of blocks: a half-precision scale, then 32 signed bytes."""
    blocks = values.reshape(-1, BLOCK)
    scale = np.abs(blocks).max(axis=1, keepdims=True) / np.float32(127)
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale != 0)
    out = np.empty((len(blocks), 2 + BLOCK), np.uint8)
    out[:, :2] = scale.astype("<f2").view(np.uint8)
    out[:, 2:] = np.rint(blocks * inverse).astype(np.int8).view(np.uint8)
    return out


def quantize_q4_0(values):
    """Rows of blocks: a half-precision scale, then 16 bytes of two 4-bit values each."""
    blocks = values.reshape(-1, BLOCK)
    largest = np.abs(blocks).argmax(axis=1)[:, None]
    scale = np.take_along_axis(blocks, largest, axis=1) / np.float32(-8)
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale != 0)
    nibbles = np.minimum(15, np.floor(blocks * inverse + np.float32(8.5))).astype(np.uint8)
    out = np.empty((len(blocks), 2 + BLOCK // 2), np.uint8)
    out[:, :2] = scale.astype("<f2").view(np.uint8)
    out[:, 2:] = nibbles[:, :BLOCK // 2] | nibbles[:, BLOCK // 2:] << 4
    return out


def to_bf16(values):
    """The upper halves of the single-precision values, rounded to nearest even."""
    bits = values.reshape(-1).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2")


def encode_tensor(values, tensor_type):
    """The bytes of an array stored as the given type, as a numpy array."""
    values = np.ascontiguousarray(values, np.float32)
    if tensor_type == Tensor.F32:
        return values.astype("<f4")
    if tensor_type == Tensor.F16:
        return values.astype("<f2")
    if tensor_type == Tensor.BF16:
        return to_bf16(values)
    if tensor_type == Tensor.Q8_0:
        return quantize_q8_0(values)
    return quantize_q4_0(values)


def tensor_bytes(shape, tensor_type):
    """How many bytes a tensor of this shape and type takes."""
    return int(np.prod(shape)) * BLOCK_BYTES[tensor_type] // BLOCK


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
        if tensor_type in QUANTIZED and shape[-1] % BLOCK:
            raise ValueError(f"tensor '{name}': rows of {shape[-1]} values cannot be stored as "
                             f"{tensor_type.name}, which needs a multiple of {BLOCK}")
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
