# SPDX-License-Identifier: Apache-2.0
"""llama.cpp, the strongest other engine, as npm's node-llama-cpp ships it: its library through ctypes, on the CPU.

It lies where bench/peer/compare.py installs it, or in the folder PUMICE_PEER whose node_modules has it. Structures that
are given by value are opaque here: as they are larger than the library's, what it reads of them is what it wrote, and
only a context's first member (the context length) and its thread counts are set. One process should load one model at a
time; a file that the peer cannot open may end the process, so ask from a child."""
import ctypes as C
import os
import pathlib
import platform

ROOT = pathlib.Path(__file__).resolve().parents[2]
MACHINE = {"x86_64": "linux-x64", "aarch64": "linux-arm64"}.get(platform.machine(), "")
THREADS = 7  # and 8: words of llama_context_params


class Params(C.Structure):
    _fields_ = [("words", C.c_uint32 * 256)]


class Batch(C.Structure):
    _fields_ = [("n_tokens", C.c_int32), ("token", C.POINTER(C.c_int32)), ("embd", C.c_void_p), ("pos", C.c_void_p),
                ("n_seq_id", C.c_void_p), ("seq_id", C.c_void_p), ("logits", C.POINTER(C.c_int8))]


def find():
    """Folder of the libraries, or None."""
    home = pathlib.Path(os.environ.get("PUMICE_PEER") or ROOT / "bench" / "peer")
    folder = home / "node_modules" / "@node-llama-cpp" / MACHINE / "bins" / MACHINE
    return folder if MACHINE and list(folder.glob("libllama.*")) else None


class Quantizer:
    """From float32 [...][columns] to blocks of the ggml type `kind`, every column of the same importance, and back."""

    def __init__(self, folder, kind):
        self.base, self.kind, floats = C.CDLL(str(folder / "libggml-base.so")), kind, C.POINTER(C.c_float)
        self.base.ggml_row_size.restype, self.base.ggml_row_size.argtypes = C.c_size_t, [C.c_int, C.c_int64]
        self.base.ggml_quantize_chunk.restype = C.c_size_t
        self.base.ggml_quantize_chunk.argtypes = [C.c_int, floats, C.c_void_p, C.c_int64, C.c_int64, C.c_int64, floats]
        self.read = getattr(self.base, f"dequantize_row_{kind.name.lower()}")
        self.read.restype, self.read.argtypes = None, [C.c_void_p, floats, C.c_int64]
        self.floats = floats

    def quantize(self, values):
        import numpy as np
        rows, columns = values.size // values.shape[-1], values.shape[-1]
        out = np.empty((rows, self.base.ggml_row_size(self.kind, columns)), np.uint8)
        alike = np.ones(columns, np.float32)
        self.base.ggml_quantize_chunk(self.kind, values.ctypes.data_as(self.floats), out.ctypes.data, 0, rows, columns,
                                      alike.ctypes.data_as(self.floats))
        return out

    def rounded(self, values):
        """What is left of matrices; vectors stay."""
        import numpy as np
        out = np.array(values, np.float32)
        if values.ndim > 1:
            blocks = self.quantize(values)
            self.read(blocks.ctypes.data, out.ctypes.data_as(self.floats), out.size)
        return out


class Refused(Exception):
    """The peer does not open the file; the text is its own sentence."""


class Peer:
    def __init__(self, folder):
        self.lines = []
        C.CDLL(str(folder / "libggml-base.so"), mode=C.RTLD_GLOBAL)
        ggml = C.CDLL(str(next(folder.glob("libggml.*so*"))), mode=C.RTLD_GLOBAL)
        self.lib = lib = C.CDLL(str(next(folder.glob("libllama.*so*"))))
        handle, path = C.c_void_p, C.c_char_p
        for name, result, arguments in (
                ("llama_model_default_params", Params, []), ("llama_context_default_params", Params, []),
                ("llama_model_load_from_file", handle, [path, Params]),
                ("llama_init_from_model", handle, [handle, Params]), ("llama_model_get_vocab", handle, [handle]),
                ("llama_vocab_n_tokens", C.c_int32, [handle]), ("llama_encode", C.c_int32, [handle, Batch]),
                ("llama_decode", C.c_int32, [handle, Batch]), ("llama_free", None, [handle]),
                ("llama_model_free", None, [handle]),
                ("llama_tokenize", C.c_int32, [handle, path, C.c_int32, C.POINTER(C.c_int32), C.c_int32, C.c_bool,
                                               C.c_bool]),
                ("llama_batch_get_one", Batch, [C.POINTER(C.c_int32), C.c_int32]),
                ("llama_get_logits_ith", C.POINTER(C.c_float), [handle, C.c_int32]),
                ("llama_log_set", None, [handle, handle])):
            function = getattr(lib, name)
            function.restype, function.argtypes = result, arguments
        kind = C.CFUNCTYPE(None, C.c_int, C.c_char_p, C.c_void_p)
        self.listen = kind(lambda level, text, user: self.lines.append(text.decode(errors="replace")))
        lib.llama_log_set(C.cast(self.listen, handle), None)
        ggml.ggml_log_set.argtypes = [handle, handle]
        ggml.ggml_log_set(C.cast(self.listen, handle), None)
        ggml.ggml_backend_load_all_from_path.argtypes = [path]
        ggml.ggml_backend_load_all_from_path(str(folder).encode())
        self.model = self.context = None

    def load(self, path, context=256):
        self.close()
        self.lines.clear()
        self.model = self.lib.llama_model_load_from_file(str(path).encode(), self.lib.llama_model_default_params())
        if not self.model:
            raise Refused(next((line.strip() for line in self.lines if "error" in line), "no reason given"))
        params = self.lib.llama_context_default_params()
        params.words[0] = context
        params.words[THREADS] = params.words[THREADS + 1] = 1
        self.context = self.lib.llama_init_from_model(self.model, params)
        if not self.context:
            raise Refused("no context")
        self.vocab = self.lib.llama_model_get_vocab(self.model)
        self.n_vocab = self.lib.llama_vocab_n_tokens(self.vocab)

    def close(self):
        if self.context:
            self.lib.llama_free(self.context)
        if self.model:
            self.lib.llama_model_free(self.model)
        self.model = self.context = None

    def _batch(self, tokens):
        array = (C.c_int32 * len(tokens))(*tokens)
        return self.lib.llama_batch_get_one(array, len(tokens)), array

    def encode(self, tokens):
        batch, _keep = self._batch(tokens)
        if self.lib.llama_encode(self.context, batch):
            raise Refused("llama_encode failed")

    def decode(self, tokens):
        """Logits float32 [tokens][vocabulary] of tokens that continue what came before."""
        import numpy as np
        batch, _keep = self._batch(tokens)
        batch.logits = (C.c_int8 * len(tokens))(*[1] * len(tokens))
        if self.lib.llama_decode(self.context, batch):
            raise Refused("llama_decode failed")
        return np.stack([np.ctypeslib.as_array(self.lib.llama_get_logits_ith(self.context, i), (self.n_vocab,)).copy()
                         for i in range(len(tokens))])

    def tokenize(self, text):
        """Without what is added around a text; names of control tokens are text."""
        data = text.encode()
        room = (C.c_int32 * (len(data) + 16))()
        count = self.lib.llama_tokenize(self.vocab, data, len(data), room, len(room), False, False)
        return list(room[:count])
