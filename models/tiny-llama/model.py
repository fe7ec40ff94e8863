"""The network in JAX: a Llama block stack with llama.cpp's conventions.

RMSNorm, grouped-query attention, RoPE on neighbouring pairs (2i, 2i+1) - the "NORM" kind that llama.cpp
uses for the llama architecture, so no weights have to be permuted on export - SwiGLU, and one embedding
table that is also the output head.  Weights are stored as (rows = outputs, columns = inputs), as in GGUF.
"""
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Shape(NamedTuple):
    """Sizes of the network; every row length is a multiple of 32 so that Q8_0 can hold it."""
    vocab: int = 768
    layers: int = 16
    width: int = 128
    heads: int = 4
    kv_heads: int = 2
    head_size: int = 32
    ff: int = 256
    context: int = 512
    rope_base: float = 10000.0
    eps: float = 1e-5


def init_params(shape, seed):
    """Random weights; the layers of each kind are stacked on the first axis."""
    rng = np.random.default_rng(seed)
    n, d, q, kv = shape.layers, shape.width, shape.heads * shape.head_size, shape.kv_heads * shape.head_size

    def normal(*size, std):
        return jnp.asarray(rng.standard_normal(size, dtype=np.float32) * std)

    out_std = 1.0 / np.sqrt(2 * n)
    return {
        "embed": normal(shape.vocab, d, std=0.05),
        "out_norm": jnp.ones(d),
        "blocks": {
            "attn_norm": jnp.ones((n, d)), "ffn_norm": jnp.ones((n, d)),
            "q": normal(n, q, d, std=d ** -0.5), "k": normal(n, kv, d, std=d ** -0.5),
            "v": normal(n, kv, d, std=d ** -0.5), "o": normal(n, d, q, std=out_std * q ** -0.5),
            "gate": normal(n, shape.ff, d, std=d ** -0.5), "up": normal(n, shape.ff, d, std=d ** -0.5),
            "down": normal(n, d, shape.ff, std=out_std * shape.ff ** -0.5),
        },
    }


def count_params(params):
    return sum(int(np.prod(x.shape)) for x in jax.tree.leaves(params))


def rms_norm(x, weight, eps):
    return x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + eps) * weight


def rope_tables(shape, length):
    """cos and sin, (length, head_size / 2)."""
    freq = shape.rope_base ** (-np.arange(0, shape.head_size, 2) / shape.head_size)
    angle = np.arange(length)[:, None] * freq[None, :]
    return jnp.asarray(np.cos(angle), jnp.float32), jnp.asarray(np.sin(angle), jnp.float32)


def rotate(x, cos, sin):
    """RoPE on pairs of neighbours; x is (batch, length, heads, head_size)."""
    even, odd = x[..., 0::2], x[..., 1::2]
    c, s = cos[None, :, None, :], sin[None, :, None, :]
    return jnp.stack([even * c - odd * s, even * s + odd * c], axis=-1).reshape(x.shape)


def block(shape, w, h, mask, cos, sin):
    """One layer; h is (batch, length, width), mask is 0 or a large negative number."""
    b, t, _ = h.shape
    groups = shape.heads // shape.kv_heads
    x = rms_norm(h, w["attn_norm"], shape.eps)
    q = rotate((x @ w["q"].T).reshape(b, t, shape.heads, shape.head_size), cos, sin)
    k = rotate((x @ w["k"].T).reshape(b, t, shape.kv_heads, shape.head_size), cos, sin)
    v = (x @ w["v"].T).reshape(b, t, shape.kv_heads, shape.head_size)
    # query head j reads key head j // groups; plain batched products are the fast ones on a CPU
    q = q.reshape(b, t, shape.kv_heads, groups, -1).transpose(0, 2, 3, 1, 4).reshape(b, shape.kv_heads, groups * t, -1)
    scores = (q @ k.transpose(0, 2, 3, 1)).reshape(b, shape.kv_heads, groups, t, t)
    scores = jax.nn.softmax(scores * shape.head_size ** -0.5 + mask[:, None, None], axis=-1)
    mixed = scores.reshape(b, shape.kv_heads, groups * t, t) @ v.transpose(0, 2, 1, 3)
    mixed = mixed.reshape(b, shape.kv_heads, groups, t, -1).transpose(0, 3, 1, 2, 4).reshape(b, t, -1)
    h = h + mixed @ w["o"].T
    x = rms_norm(h, w["ffn_norm"], shape.eps)
    return h + (jax.nn.silu(x @ w["gate"].T) * (x @ w["up"].T)) @ w["down"].T


def run_layers(shape, params, tokens, segments, keep):
    """Hidden states after each layer, (layers, batch, length, width).

    `segments` keeps packed examples apart; where `keep[i]` is false layer i is left out (layer dropout).
    """
    t = tokens.shape[1]
    cos, sin = rope_tables(shape, t)
    causal = jnp.tril(jnp.ones((t, t), bool))
    allowed = causal[None] & (segments[:, :, None] == segments[:, None, :])
    mask = jnp.where(allowed, 0.0, -1e9).astype(jnp.float32)

    @jax.checkpoint  # the backward pass computes the layer again: on a CPU that is faster than storing it
    def one(w, on, h):
        return jax.lax.cond(on, lambda x: block(shape, w, x, mask, cos, sin), lambda x: x, h)

    def step(h, layer):
        h = one(*layer, h)
        return h, h

    _, states = jax.lax.scan(step, params["embed"][tokens], (params["blocks"], keep))
    return states


def head(shape, params, h):
    """The shared final norm and output head; works on the hidden state of any layer."""
    return rms_norm(h, params["out_norm"], shape.eps) @ params["embed"].T
