"""Reads a llama GGUF and runs it in numpy, the way llama.cpp does.

This is a second implementation, written against the file and not against model.py: it checks that names,
shapes, RoPE kind and tokenizer data in the file are what llama.cpp expects, and it gives the numbers of
evaluate.py for F16 and Q8_0 alike (Q8_0 weights are expanded; activations stay float32).
"""
import gguf
import numpy as np
from gguf.constants import GGMLQuantizationType
from tokenizers import Tokenizer, decoders, models, pre_tokenizers


class Model:
    """Weights as float32 arrays, hyper-parameters and tokenizer of one GGUF file."""

    def __init__(self, path):
        reader = gguf.GGUFReader(path)
        self.meta = {name: field.contents() for name, field in reader.fields.items()}
        assert self.meta["general.architecture"] == "llama"
        self.layers = self.meta["llama.block_count"]
        self.heads = self.meta["llama.attention.head_count"]
        self.kv_heads = self.meta["llama.attention.head_count_kv"]
        self.eps = self.meta["llama.attention.layer_norm_rms_epsilon"]
        self.head_size = self.meta["llama.rope.dimension_count"]
        self.base = self.meta["llama.rope.freq_base"]
        self.tensors = {}
        for t in reader.tensors:
            kind = GGMLQuantizationType(t.tensor_type)
            self.tensors[t.name] = gguf.quants.dequantize(t.data, kind).astype(np.float32)
        assert "output.weight" not in self.tensors  # the embedding is also the head
        self.tokenizer = self._tokenizer()

    def _tokenizer(self):
        """The tokenizer from the file's own lists, so that these lists are what is tested."""
        m = self.meta
        assert m["tokenizer.ggml.model"] == "gpt2" and m["tokenizer.ggml.pre"] == "gpt-2"
        tokens = m["tokenizer.ggml.tokens"]
        merges = [tuple(x.split(" ")) for x in m["tokenizer.ggml.merges"]]
        tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        tokenizer.decoder = decoders.ByteLevel()
        control = gguf.TokenType.CONTROL
        tokenizer.add_special_tokens([t for t, k in zip(tokens, m["tokenizer.ggml.token_type"]) if k == control])
        return tokenizer

    def norm(self, x, name):
        return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + self.eps) * self.tensors[name]

    def rope(self, x, positions):
        """ggml's NORM kind: element pairs (2i, 2i+1) turn by position * base^(-2i / head_size)."""
        angle = positions[:, None] * self.base ** (-np.arange(0, self.head_size, 2) / self.head_size)
        turn = np.exp(1j * angle).astype(np.complex64)[:, None, :]
        pairs = np.ascontiguousarray(x).view(np.complex64)
        return (pairs * turn).view(np.float32)

    def states(self, ids):
        """Hidden states of one sequence after each layer: a list of (length, width) arrays."""
        t = len(ids)
        positions, w = np.arange(t), self.tensors
        future = np.triu(np.full((t, t), -np.inf, np.float32), 1)
        h, out = w["token_embd.weight"][ids], []
        for i in range(self.layers):
            p = f"blk.{i}."
            x = self.norm(h, p + "attn_norm.weight")
            q = self.rope((x @ w[p + "attn_q.weight"].T).reshape(t, self.heads, -1), positions)
            k = self.rope((x @ w[p + "attn_k.weight"].T).reshape(t, self.kv_heads, -1), positions)
            v = (x @ w[p + "attn_v.weight"].T).reshape(t, self.kv_heads, -1)
            mixed = []
            for j in range(self.heads):
                kv = j // (self.heads // self.kv_heads)
                score = q[:, j] @ k[:, kv].T / np.sqrt(self.head_size, dtype=np.float32) + future
                score = np.exp(score - score.max(axis=-1, keepdims=True))
                mixed.append(score / score.sum(axis=-1, keepdims=True) @ v[:, kv])
            h = h + np.concatenate(mixed, axis=-1) @ w[p + "attn_output.weight"].T
            x = self.norm(h, p + "ffn_norm.weight")
            gate = x @ w[p + "ffn_gate.weight"].T
            h = h + (gate / (1 + np.exp(-gate)) * (x @ w[p + "ffn_up.weight"].T)) @ w[p + "ffn_down.weight"].T
            out.append(h)
        return out

    def logits(self, h):
        """The shared norm and head on a hidden state."""
        return self.norm(h, "output_norm.weight") @ self.tensors["token_embd.weight"].T

    def greedy(self, ids, depth, limit=64):
        """Greedy answer of a model cut after `depth` layers (slow: no cache)."""
        ids, start = list(ids), len(ids)
        while len(ids) < start + limit:
            best = int(np.argmax(self.logits(self.states(ids)[depth - 1][-1])))
            if best == self.meta["tokenizer.ggml.eos_token_id"]:
                break
            ids.append(best)
        return ids[start:]
