#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Trains the bundled story model from nothing and writes it as a GGUF file.

Makes the text with story_corpus.py, trains a SentencePiece-style tokenizer on
it, trains a small LLaMA-shaped transformer with PyTorch on one CPU thread, and
stores its matrices as Q8_0.  The file is then read back and run by a separate
numpy implementation, which gives the story that greedy decoding must produce
(pumice-stories.expected.json); the figures go into the model card.  With
--check, only the reading back is done, on the file that is there.
"""
import argparse
import collections
import json
import math
import pathlib
import random
import re
import struct
import sys
import time

import numpy as np

import story_corpus
from gguf_writer import BLOCK, FileType, GGUFWriter, Tensor, Value

MODEL_NAME = "pumice-stories"
CONTEXT = 512
WIDTH = 128
LAYERS = 6
HEADS = 4
KV_HEADS = 2
HEAD_SIZE = WIDTH // HEADS
FFN = 384
VOCABULARY = 1024
EPSILON = 1e-5
ROPE_BASE = 10000.0

UNKNOWN, BOS, EOS = 0, 1, 2
FIRST_BYTE = 3
SPACE = "\u2581"
NORMAL_TYPE, UNKNOWN_TYPE, CONTROL_TYPE, BYTE_TYPE = 1, 2, 3, 6

HELD_OUT_STORIES = 512
TOKENIZER_STORIES = 8000
BATCH = 16
PAIR_EVERY = 10
LATE_START = 0.3
DISTURBED_ROWS = 0.25
DISTURBED_TOKENS = 0.06
PEAK_RATE = 3e-3
LAST_RATE = 3e-5
WARM_UP = 100
MIN_MARGIN = 0.02
LONGEST_STORY = 220


# The tokenizer.

class Tokenizer:
    """Pieces with scores; a text is cut by joining the best-scored neighbours first."""

    def __init__(self, pieces):
        self.pieces = pieces
        first = FIRST_BYTE + 256
        self.scores = [0.0] * first + [-float(rank) for rank in range(len(pieces) - first)]
        self.types = [UNKNOWN_TYPE, CONTROL_TYPE, CONTROL_TYPE] + [BYTE_TYPE] * 256
        self.types += [NORMAL_TYPE] * (len(pieces) - first)
        self.ids = {piece: token for token, piece in enumerate(pieces) if token >= first}
        self.cache = {}

    def join(self, word):
        """The tokens of one word, which begins with the space mark or a text."""
        symbols = list(word)
        while True:
            best = None
            for place in range(len(symbols) - 1):
                token = self.ids.get(symbols[place] + symbols[place + 1])
                if token is not None and (best is None or self.scores[token] > best[0]):
                    best = (self.scores[token], place)
            if best is None:
                break
            place = best[1]
            symbols[place:place + 2] = [symbols[place] + symbols[place + 1]]
        tokens = []
        for symbol in symbols:
            if symbol in self.ids:
                tokens.append(self.ids[symbol])
            else:
                tokens += [FIRST_BYTE + byte for byte in symbol.encode("utf-8")]
        return tokens

    def encode(self, text):
        """The tokens of a text, without the one that begins it.

        No piece has the space mark inside, so that words can be cut apart and remembered.
        """
        tokens = []
        for word in re.findall(f"{SPACE}?[^{SPACE}]*", SPACE + text.replace(" ", SPACE)):
            if word not in self.cache:
                self.cache[word] = self.join(word)
            tokens += self.cache[word]
        return tokens

    def decode(self, tokens):
        """The text of tokens, without the space that begins it."""
        data = b""
        for token in tokens:
            if self.types[token] == BYTE_TYPE:
                data += bytes([token - FIRST_BYTE])
            elif self.types[token] == NORMAL_TYPE:
                data += self.pieces[token].replace(SPACE, " ").encode("utf-8")
        return data.decode("utf-8", "replace").removeprefix(" ")


def train_tokenizer(stories, size):
    """Joins the most frequent pair of neighbouring symbols until there are enough pieces.

    Letters are never joined with punctuation, nor anything across a space.
    """
    runs = collections.Counter()
    for story in stories:
        marked = SPACE + story.replace(" ", SPACE)
        runs.update(re.findall(f"{SPACE}?[A-Za-z]+|{SPACE}?[^A-Za-z{SPACE}]+", marked))
    characters = collections.Counter()
    for run, count in runs.items():
        for character in run:
            characters[character] += count
    characters = [character for character, _ in
                  sorted(characters.items(), key=lambda item: (-item[1], item[0]))]
    words = [(list(run), count) for run, count in sorted(runs.items())]
    joins = []
    while len(joins) < size - FIRST_BYTE - 256 - len(characters):
        pairs = collections.Counter()
        for symbols, count in words:
            for pair in zip(symbols, symbols[1:]):
                pairs[pair] += count
        if not pairs:
            raise ValueError(f"the text is too small for a vocabulary of {size} pieces")
        (left, right), _ = min(pairs.items(), key=lambda item: (-item[1], item[0]))
        if left + right not in joins:
            joins.append(left + right)
        for symbols, _ in words:
            place = 0
            while place < len(symbols) - 1:
                if symbols[place] == left and symbols[place + 1] == right:
                    symbols[place:place + 2] = [left + right]
                place += 1
    special = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    return Tokenizer(special + joins + characters)


# The model and its training, with PyTorch.

def make_network(seed):
    """The transformer as a PyTorch module; tensors carry their GGUF names, '.' as '_'."""
    import torch
    from torch import nn
    from torch.nn import functional

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    pairs = torch.arange(0, HEAD_SIZE, 2) / HEAD_SIZE
    angles = torch.outer(torch.arange(CONTEXT), ROPE_BASE ** -pairs)
    cosines, sines = angles.cos(), angles.sin()
    future = torch.full((CONTEXT, CONTEXT), -math.inf).triu(1)

    def matrix(rows, columns, scale=1.0):
        return nn.Parameter(torch.randn(rows, columns) * 0.02 * scale)

    def norm(values, weight):
        size = values.square().mean(-1, keepdim=True)
        return values * torch.rsqrt(size + EPSILON) * weight

    def rotate(values):
        """Turns neighbouring pairs of each head's values by the angles of their positions."""
        length = values.shape[1]
        cosine, sine = cosines[:length, None], sines[:length, None]
        even, odd = values[..., 0::2], values[..., 1::2]
        turned = (even * cosine - odd * sine, even * sine + odd * cosine)
        return torch.stack(turned, -1).flatten(-2)

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            small = (2 * LAYERS) ** -0.5
            self.attn_norm = nn.Parameter(torch.ones(WIDTH))
            self.attn_q = matrix(WIDTH, WIDTH, 2)
            self.attn_k = matrix(KV_HEADS * HEAD_SIZE, WIDTH, 2)
            self.attn_v = matrix(KV_HEADS * HEAD_SIZE, WIDTH, 2)
            self.attn_output = matrix(WIDTH, WIDTH, 2 * small)
            self.ffn_norm = nn.Parameter(torch.ones(WIDTH))
            self.ffn_gate = matrix(FFN, WIDTH, 2)
            self.ffn_up = matrix(FFN, WIDTH, 2)
            self.ffn_down = matrix(WIDTH, FFN, 2 * small)

        def attend(self, values):
            batch, length, _ = values.shape
            query = rotate((values @ self.attn_q.T).view(batch, length, HEADS, HEAD_SIZE))
            key = rotate((values @ self.attn_k.T).view(batch, length, KV_HEADS, HEAD_SIZE))
            value = (values @ self.attn_v.T).view(batch, length, KV_HEADS, HEAD_SIZE)
            group = HEADS // KV_HEADS
            query = query.transpose(1, 2)
            key = key.transpose(1, 2).repeat_interleave(group, 1)
            value = value.transpose(1, 2).repeat_interleave(group, 1)
            scores = query @ key.transpose(2, 3) * HEAD_SIZE ** -0.5
            mixed = (scores + future[:length, :length]).softmax(-1) @ value
            return mixed.transpose(1, 2).reshape(batch, length, WIDTH) @ self.attn_output.T

        def forward(self, values):
            values = values + self.attend(norm(values, self.attn_norm))
            inner = norm(values, self.ffn_norm)
            inner = functional.silu(inner @ self.ffn_gate.T) * (inner @ self.ffn_up.T)
            return values + inner @ self.ffn_down.T

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.token_embd = matrix(VOCABULARY, WIDTH, 2)
            self.blk = nn.ModuleList(Layer() for _ in range(LAYERS))
            self.output_norm = nn.Parameter(torch.ones(WIDTH))

        def loss(self, inputs, targets):
            """Mean loss over rows of tokens; targets that do not count are -1."""
            values = functional.embedding(inputs, self.token_embd)
            for layer in self.blk:
                values = layer(values)
            logits = norm(values, self.output_norm) @ self.token_embd.T
            return functional.cross_entropy(logits.flatten(0, 1), targets.flatten(),
                                            ignore_index=-1)

    return Network()


def make_rows(samples):
    """Samples of tokens as rows of inputs and of targets, filled up with 0 and -1."""
    import torch
    rows = torch.full((len(samples), max(map(len, samples))), -1)
    for row, sample in zip(rows, samples):
        row[:len(sample)] = torch.tensor(sample)
    return rows[:, :-1].clamp(min=0), rows[:, 1:]


def make_sample(tokenizer, story, rng):
    """The tokens of a story; some stories lack their first sentences.

    So the model learns to go on from any sentence, not only from the usual beginnings.
    """
    if rng.random() < LATE_START:
        ends = [match.end() for match in re.finditer(r'[.!?]"? (?=[A-Z"])', story)]
        starts = [end for end in ends if story.count('"', 0, end) % 2 == 0]
        story = story[rng.choice(starts[:len(starts) // 2]):]
    return [BOS, *tokenizer.encode(story), EOS]


def disturb(inputs, rng):
    """Puts wrong tokens into some of the rows, so that the model learns to cope with them."""
    import torch
    rows = rng.random((len(inputs), 1)) < DISTURBED_ROWS
    places = torch.from_numpy(rows & (rng.random(inputs.shape) < DISTURBED_TOKENS))
    places[:, 0] = False
    wrong = torch.from_numpy(rng.integers(FIRST_BYTE, VOCABULARY, inputs.shape))
    return torch.where(places, wrong, inputs)


def make_batches(samples, seed):
    """Batches of samples of about one length; some have rows of two samples."""
    rng = np.random.default_rng(seed)
    pool = 32 * BATCH
    for start in range(0, len(samples) - pool + 1, pool):
        part = sorted(samples[start:start + pool], key=len)
        for number, first in enumerate(rng.permutation(pool // BATCH) * BATCH):
            batch = part[first:first + BATCH]
            if number % PAIR_EVERY == PAIR_EVERY - 1:
                half = BATCH // 2
                batch = [one + two for one, two in zip(batch[:half], batch[half:])]
            inputs, targets = make_rows([sample[:CONTEXT] for sample in batch])
            yield disturb(inputs, rng), targets


def held_out_loss(network, samples):
    """Mean loss per token over samples."""
    import torch
    total = count = 0
    with torch.no_grad():
        for start in range(0, len(samples), BATCH):
            batch = samples[start:start + BATCH]
            tokens = sum(len(sample) - 1 for sample in batch)
            total += network.loss(*make_rows(batch)).item() * tokens
            count += tokens
    return total / count


class Trainer:
    """Runs steps of AdamW on a network; rates rise over the warm-up, then fall along a cosine."""

    def __init__(self, network, steps):
        import torch
        self.torch = torch
        self.network = network
        self.steps = steps
        self.done = 0
        self.losses = collections.deque(maxlen=200)
        matrices = [weight for weight in network.parameters() if weight.dim() == 2]
        norms = [weight for weight in network.parameters() if weight.dim() == 1]
        self.optimizer = torch.optim.AdamW(
            [dict(params=matrices, weight_decay=0.1), dict(params=norms, weight_decay=0.0)],
            lr=PEAK_RATE, betas=(0.9, 0.95))

    def rate(self):
        progress = min(1.0, self.done / self.steps)
        rate = LAST_RATE + (PEAK_RATE - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * progress))
        return rate * min(1.0, (self.done + 1) / WARM_UP)

    def step(self, inputs, targets):
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate()
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.network.loss(inputs, targets)
        loss.backward()
        self.torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.losses.append(loss.item())
        self.done += 1

    def mean_loss(self):
        return sum(self.losses) / len(self.losses)


# The GGUF file.

def tensor_name(parameter):
    """The GGUF name of a parameter of the network."""
    return parameter + ".weight"


def write_model(path, network, tokenizer):
    """Writes the model and returns the file's size."""
    writer = GGUFWriter()
    writer.add_string("general.architecture", "llama")
    writer.add_string("general.name", "Pumice Stories 1M")
    writer.add_string("general.license", "CC0-1.0")
    writer.add_uint32("general.file_type", FileType.Q8_0)
    writer.add_uint32("llama.context_length", CONTEXT)
    writer.add_uint32("llama.embedding_length", WIDTH)
    writer.add_uint32("llama.block_count", LAYERS)
    writer.add_uint32("llama.feed_forward_length", FFN)
    writer.add_uint32("llama.attention.head_count", HEADS)
    writer.add_uint32("llama.attention.head_count_kv", KV_HEADS)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", EPSILON)
    writer.add_uint32("llama.rope.dimension_count", HEAD_SIZE)
    writer.add_float32("llama.rope.freq_base", ROPE_BASE)
    writer.add_uint32("llama.vocab_size", VOCABULARY)
    writer.add_string("tokenizer.ggml.model", "llama")
    writer.add_array("tokenizer.ggml.tokens", Value.STRING, tokenizer.pieces)
    writer.add_array("tokenizer.ggml.scores", Value.FLOAT32, tokenizer.scores)
    writer.add_array("tokenizer.ggml.token_type", Value.INT32, tokenizer.types)
    writer.add_uint32("tokenizer.ggml.bos_token_id", BOS)
    writer.add_uint32("tokenizer.ggml.eos_token_id", EOS)
    writer.add_uint32("tokenizer.ggml.unknown_token_id", UNKNOWN)
    writer.add_bool("tokenizer.ggml.add_bos_token", True)
    writer.add_bool("tokenizer.ggml.add_eos_token", False)
    writer.add_bool("tokenizer.ggml.add_space_prefix", True)
    for name, parameter in network.named_parameters():
        values = parameter.detach().numpy()
        kind = Tensor.Q8_0 if values.ndim == 2 else Tensor.F32
        writer.add_tensor(tensor_name(name), values.shape, kind, values)
    return writer.write(path)


class Reader:
    """Reads a GGUF file of F32 and Q8_0 tensors; apart from the writer on purpose."""

    FORMATS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q",
               11: "<q", 12: "<d"}

    def __init__(self, path):
        self.data = pathlib.Path(path).read_bytes()
        self.place = 4
        version, tensors, values = self.unpack("<I"), self.unpack("<Q"), self.unpack("<Q")
        if self.data[:4] != b"GGUF" or version != 3:
            raise ValueError(f"{path} is not a GGUF file of version 3")
        self.metadata = {self.string(): self.value(self.unpack("<I")) for _ in range(values)}
        entries = [self.entry() for _ in range(tensors)]
        start = -(-self.place // 32) * 32
        self.tensors = {name: self.tensor(shape, kind, start + offset)
                        for name, shape, kind, offset in entries}

    def unpack(self, layout):
        value, = struct.unpack_from(layout, self.data, self.place)
        self.place += struct.calcsize(layout)
        return value

    def string(self):
        length = self.unpack("<Q")
        self.place += length
        return self.data[self.place - length:self.place].decode("utf-8")

    def value(self, kind):
        if kind == 8:
            return self.string()
        if kind == 9:
            item, count = self.unpack("<I"), self.unpack("<Q")
            return [self.value(item) for _ in range(count)]
        return self.unpack(self.FORMATS[kind])

    def entry(self):
        name = self.string()
        shape = [self.unpack("<Q") for _ in range(self.unpack("<I"))]
        return name, shape[::-1], self.unpack("<I"), self.unpack("<Q")

    def tensor(self, shape, kind, offset):
        """The values of a tensor in single precision."""
        count = math.prod(shape)
        if kind == 0:
            return np.frombuffer(self.data, "<f4", count, offset).reshape(shape)
        if kind != 8:
            raise ValueError(f"tensors of type {kind} are not read here")
        layout = np.dtype([("scale", "<f2"), ("values", "i1", BLOCK)])
        blocks = np.frombuffer(self.data, layout, count // BLOCK, offset)
        values = blocks["values"].astype(np.float32) * blocks["scale"].astype(np.float32)[:, None]
        return values.reshape(shape)


class Reference:
    """Runs the model of a GGUF file token by token, in numpy with double precision."""

    def __init__(self, reader):
        meta = reader.metadata
        self.weights = {name: values.astype(np.float64) for name, values in reader.tensors.items()}
        self.layers = meta["llama.block_count"]
        self.heads = meta["llama.attention.head_count"]
        self.kv_heads = meta["llama.attention.head_count_kv"]
        self.epsilon = meta["llama.attention.layer_norm_rms_epsilon"]
        half = meta["llama.rope.dimension_count"] // 2
        self.frequencies = meta["llama.rope.freq_base"] ** (-np.arange(half) / half)
        self.keys = [[] for _ in range(self.layers)]
        self.values = [[] for _ in range(self.layers)]

    def norm(self, vector, name):
        size = np.mean(vector * vector)
        return vector / np.sqrt(size + self.epsilon) * self.weights[name]

    def rotate(self, heads, position):
        turned = (heads[:, 0::2] + 1j * heads[:, 1::2]) * np.exp(1j * position * self.frequencies)
        return np.stack([turned.real, turned.imag], -1).reshape(heads.shape)

    def attend(self, vector, layer, prefix):
        position = len(self.keys[layer])
        query = (self.weights[prefix + "attn_q.weight"] @ vector).reshape(self.heads, -1)
        key = (self.weights[prefix + "attn_k.weight"] @ vector).reshape(self.kv_heads, -1)
        value = (self.weights[prefix + "attn_v.weight"] @ vector).reshape(self.kv_heads, -1)
        self.keys[layer].append(self.rotate(key, position))
        self.values[layer].append(value)
        keys, values = np.stack(self.keys[layer], 1), np.stack(self.values[layer], 1)
        mixed = []
        for head, part in enumerate(self.rotate(query, position)):
            source = head * self.kv_heads // self.heads
            scores = keys[source] @ part / np.sqrt(part.size)
            shares = np.exp(scores - scores.max())
            mixed.append(shares / shares.sum() @ values[source])
        return self.weights[prefix + "attn_output.weight"] @ np.concatenate(mixed)

    def next_logits(self, token):
        """Takes one more token and returns the logits of what follows it."""
        vector = self.weights["token_embd.weight"][token]
        for layer in range(self.layers):
            prefix = f"blk.{layer}."
            normed = self.norm(vector, prefix + "attn_norm.weight")
            vector = vector + self.attend(normed, layer, prefix)
            normed = self.norm(vector, prefix + "ffn_norm.weight")
            gate = self.weights[prefix + "ffn_gate.weight"] @ normed
            inner = gate / (1 + np.exp(-gate)) * (self.weights[prefix + "ffn_up.weight"] @ normed)
            vector = vector + self.weights[prefix + "ffn_down.weight"] @ inner
        return self.weights["token_embd.weight"] @ self.norm(vector, "output_norm.weight")


def greedy(reader, tokenizer, prompt=""):
    """What greedy decoding makes of a prompt: tokens, text, least margin and first logits."""
    reference = Reference(reader)
    prompt_tokens = tokenizer.encode(prompt) if prompt else []
    for token in [BOS] + prompt_tokens:
        logits = reference.next_logits(token)
    tokens, margins, tops = [], [], []
    while True:
        best = np.argsort(-logits, kind="stable")[:5]
        margins.append(logits[best[0]] - logits[best[1]])
        tops.append([[int(token), round(float(logits[token]), 6)] for token in best])
        tokens.append(int(best[0]))
        if tokens[-1] == EOS or len(prompt_tokens) + len(tokens) == CONTEXT - 1:
            break
        logits = reference.next_logits(tokens[-1])
    return {
        "greedy_tokens": tokens,
        "text": tokenizer.decode(prompt_tokens + tokens),
        "min_margin": round(float(min(margins)), 6),
        "logits_top": tops[:16],
    }


def is_good(expected):
    """Whether a greedy story ends in time and no choice in it was close."""
    tokens = expected["greedy_tokens"]
    return (tokens[-1] == EOS and len(tokens) <= LONGEST_STORY
            and expected["min_margin"] >= MIN_MARGIN)


def quantized_loss(network, reader, samples):
    """The held-out loss with the weights as they are in the file."""
    import torch
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(torch.from_numpy(reader.tensors[tensor_name(name)].copy()))
    return held_out_loss(network, samples)


# The whole of it.

def write_expected(path, expected):
    """Writes what the file must give, one position's logits to a line."""
    tops = ",\n    ".join(json.dumps(top) for top in expected["logits_top"])
    fields = [f'"{key}": {json.dumps(value)}' for key, value in expected.items()
              if key != "logits_top"]
    fields.append(f'"logits_top": [\n    {tops}\n  ]')
    path.write_text("{\n  " + ",\n  ".join(fields) + "\n}\n")


def write_figures(path, figures):
    """Puts a table of figures between the marks in the model card."""
    table = "\n".join(["| figure | value |", "| --- | --- |"]
                      + [f"| {name} | {value} |" for name, value in figures.items()])
    card = path.read_text()
    marked = re.compile(r"(<!-- figures -->\n).*?(<!-- end of figures -->)", re.S)
    if not marked.search(card):
        raise ValueError(f"{path} has no marks between which the figures go")
    path.write_text(marked.sub(lambda match: f"{match[1]}\n{table}\n\n{match[2]}", card))


def check(folder):
    """Reads the model back, writes what it must give, and prints some stories."""
    reader = Reader(folder / f"{MODEL_NAME}.gguf")
    tokenizer = Tokenizer(reader.metadata["tokenizer.ggml.tokens"])
    expected = greedy(reader, tokenizer)
    write_expected(folder / f"{MODEL_NAME}.expected.json", expected)
    print(f"greedy: {len(expected['greedy_tokens'])} tokens, least margin "
          f"{expected['min_margin']}\n{expected['text']}")
    for prompt in ("Once upon a time", "Lily lost her", "One day, a little frog"):
        print(f"'{prompt}': {greedy(reader, tokenizer, prompt)['text']}")
    return is_good(expected)


def train(folder, steps, extra_rounds, seed):
    """Trains and writes everything; returns whether the greedy story is good."""
    start = time.monotonic()

    def say(text):
        print(f"[{time.monotonic() - start:6.0f} s] {text}", flush=True)

    path = folder / f"{MODEL_NAME}.gguf"
    extra_steps = 32
    needed = (steps + extra_rounds * extra_steps) * BATCH
    pool = 32 * BATCH
    held_out = story_corpus.make_stories(seed + 1000003, HELD_OUT_STORIES)
    known = set(held_out)
    stories = [story for story in story_corpus.make_stories(seed, -(-needed // pool) * pool + pool)
               if story not in known]
    say(f"{len(stories)} stories made")
    tokenizer = train_tokenizer(stories[:TOKENIZER_STORIES], VOCABULARY)
    rng = random.Random(seed)
    samples = [make_sample(tokenizer, story, rng) for story in stories]
    held_out_samples = [[BOS, *tokenizer.encode(story), EOS] for story in held_out]
    say(f"tokens per story: {np.mean([len(sample) for sample in samples]):.1f}, at most "
        f"{max(len(sample) for sample in samples)}")

    network = make_network(seed)
    trainer = Trainer(network, steps)
    batches = make_batches(samples, seed)
    for inputs, targets in batches:
        trainer.step(inputs, targets)
        if trainer.done % 100 == 0:
            say(f"step {trainer.done}: loss {trainer.mean_loss():.4f}")
        if trainer.done == steps:
            break
    for extra in range(extra_rounds + 1):
        size = write_model(path, network, tokenizer)
        reader = Reader(path)
        expected = greedy(reader, tokenizer)
        say(f"greedy: {len(expected['greedy_tokens'])} tokens, least margin "
            f"{expected['min_margin']}")
        if is_good(expected) or extra == extra_rounds:
            break
        for _ in range(extra_steps):
            trainer.step(*next(batches))
    write_expected(folder / f"{MODEL_NAME}.expected.json", expected)

    loss = held_out_loss(network, held_out_samples)
    loss_q8 = quantized_loss(network, reader, held_out_samples)
    parameters = sum(weight.numel() for weight in network.parameters())
    figures = {
        "parameters": f"{parameters:,}",
        "file size": f"{size:,} bytes",
        "training steps": f"{trainer.done:,} of {BATCH} stories",
        "training tokens": f"{sum(map(len, samples[:trainer.done * BATCH])):,}",
        "training loss, some inputs disturbed (mean of the last 200 steps)":
            f"{trainer.mean_loss():.4f} per token",
        "held-out loss, single precision": f"{loss:.4f} per token",
        "held-out loss, as stored (Q8_0)": f"{loss_q8:.4f} per token",
        "held-out perplexity, as stored": f"{math.exp(loss_q8):.3f}",
        "greedy story": f"{len(expected['greedy_tokens'])} tokens",
        "least margin in the greedy story": f"{expected['min_margin']:.3f}",
        "processor time, one thread": f"{time.process_time() / 60:.0f} minutes",
    }
    write_figures(folder / "README.md", figures)
    for name, value in figures.items():
        say(f"{name}: {value}")
    print(expected["text"])
    return is_good(expected)


def main():
    folder = pathlib.Path(__file__).resolve().parent.parent / "models"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=pathlib.Path, default=folder,
                        help="where the model and its card are (default: models)")
    parser.add_argument("--steps", type=int, default=2600)
    parser.add_argument("--extra-rounds", type=int, default=20,
                        help="how often a few steps may be added for a clear greedy story")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--check", action="store_true", help="only read the model back and run it")
    args = parser.parse_args()
    try:
        if args.check:
            good = check(args.folder)
        else:
            good = train(args.folder, args.steps, args.extra_rounds, args.seed)
    except (ImportError, OSError, ValueError) as error:
        sys.exit(f"train_story_model.py: {error}")
    if not good:
        sys.exit("train_story_model.py: the greedy story is too long or has close choices; "
                 "try other steps or another seed")


if __name__ == "__main__":
    main()
