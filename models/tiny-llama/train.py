#!/usr/bin/env python3
"""Trains tiny-llama on one CPU with the LayerSkip recipe.

1. Layer dropout: layer i is left out of a step with a probability that grows with depth, so the upper
   layers learn to refine and the lower ones learn to be useful alone.
2. Early-exit loss: the shared final norm and head also have to answer from lower layers.  Each step uses
   the last layer and a few lower ones drawn at random; the weight of a layer grows with its depth.

Only the tokens of the answers count in the loss: the model never has to invent questions.
Writes tokenizer.json, weights.npz and train.json into --out, and does so again every --save-every seconds, with
state.npz, from which the same command goes on after an interruption, to the same weights.
"""
import argparse
import json
import os
import random
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from corpus import Corpus
from model import Shape, count_params, head, init_params, run_layers
from text_format import encode_examples, train_tokenizer

ROW = 128           # tokens in a packed row
EXITS_PER_STEP = 2  # lower layers that get a loss in one step
FIRST_EXIT = 4      # no loss below this depth: it would only cost the other depths


def packed_batches(pairs, rows, seed):
    """Endless batches of packed examples: tokens, segments, and the places and ids of the answer tokens."""
    rng = np.random.default_rng(seed)
    places = rows * ROW * 3 // 4  # room for the answer tokens of one batch
    while True:
        order = rng.permutation(len(pairs))
        used = 0
        while used + rows * 8 < len(order):
            tokens, segments = np.zeros((rows, ROW), np.int32), np.full((rows, ROW), -1, np.int32)
            where, target = [], []
            for row in range(rows):
                fill = 0
                while True:
                    prompt, answer = pairs[order[used]]
                    ids = prompt + answer
                    if fill + len(ids) - 1 > ROW:
                        break
                    # the last token is only a target, never an input
                    tokens[row, fill:fill + len(ids) - 1] = ids[:-1]
                    segments[row, fill:fill + len(ids) - 1] = used
                    first = row * ROW + fill + len(prompt) - 1
                    where += range(first, first + len(answer))
                    target += answer
                    fill += len(ids) - 1
                    used += 1
            count = min(len(where), places)
            where_array, target_array = np.zeros(places, np.int32), np.zeros(places, np.int32)
            where_array[:count], target_array[:count] = where[:count], target[:count]
            yield tokens, segments, where_array, target_array, (np.arange(places) < count).astype(np.float32)


def exit_weights(layers, scale):
    """Loss weight of each layer: it grows with the fourth power of the depth, and the last layer has 1."""
    depth = np.arange(1, layers + 1)
    weight = scale * (depth / layers) ** 4 * (depth >= FIRST_EXIT)
    weight[-1] = 1.0
    return weight.astype(np.float32)


def loss_of(params, shape, batch, keep, exits, weights):
    """Weighted mean of the cross-entropy at the chosen layers; also returns the loss of the last layer."""
    tokens, segments, where, target, counts = batch
    states = run_layers(shape, params, tokens, segments, keep)
    rows = states.reshape(shape.layers, -1, shape.width)[exits][:, where]
    logits = head(shape, params, rows)
    picked = jnp.take_along_axis(logits, target[None, :, None], axis=-1)[..., 0]
    losses = jnp.sum((jax.nn.logsumexp(logits, axis=-1) - picked) * counts, axis=-1) / jnp.sum(counts)
    return jnp.sum(losses * weights[exits]) / jnp.sum(weights[exits]), losses[-1]


@partial(jax.jit, static_argnames=("shape",), donate_argnums=(0, 1))
def train_step(params, moments, shape, batch, keep, exits, weights, rate, step):
    """One AdamW step with the gradient clipped to norm 1."""
    (_, last), grads = jax.value_and_grad(loss_of, has_aux=True)(params, shape, batch, keep, exits, weights)
    norm = jnp.sqrt(sum(jnp.sum(g * g) for g in jax.tree.leaves(grads)))
    grads = jax.tree.map(lambda g: g * jnp.minimum(1.0, 1.0 / (norm + 1e-6)), grads)
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, moments[0], grads)
    second = jax.tree.map(lambda v, g: 0.98 * v + 0.02 * g * g, moments[1], grads)
    fix1, fix2 = 1 - 0.9 ** step, 1 - 0.98 ** step

    def update(p, m, v):
        decay = 0.01 if p.ndim > 2 else 0.0  # the stacked matrices only
        return p - rate * (m / fix1 / (jnp.sqrt(v / fix2) + 1e-8) + decay * p)

    return jax.tree.map(update, params, first, second), (first, second), last


def save(out, params, shape, tokenizer, info):
    """Writes to a temporary name first, so that a reader never sees half a file."""
    flat = {"embed": params["embed"], "out_norm": params["out_norm"], **params["blocks"]}
    np.savez(f"{out}/weights.tmp.npz", **{k: np.asarray(v) for k, v in flat.items()})
    os.replace(f"{out}/weights.tmp.npz", f"{out}/weights.npz")
    tokenizer.save(f"{out}/tokenizer.json")
    with open(f"{out}/train.json.tmp", "w", encoding="utf-8") as file:
        json.dump({**info, "shape": shape._asdict()}, file, indent=1)
    os.replace(f"{out}/train.json.tmp", f"{out}/train.json")


def flat_state(params, moments):
    """Name and array of everything that a step changes."""
    names = ("params", "first", "second")
    return {f"{name}/{'/'.join(key.key for key in path)}": leaf
            for name, tree in zip(names, (params, *moments))
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def save_state(out, params, moments, step, recipe):
    arrays = {name: np.asarray(leaf) for name, leaf in flat_state(params, moments).items()}
    np.savez(f"{out}/state.tmp.npz", step=step, recipe=recipe, **arrays)
    os.replace(f"{out}/state.tmp.npz", f"{out}/state.npz")


def load_state(out, params, moments, recipe):
    """Parameters, moments and the last step of an interrupted run of this recipe; else those given, and 0."""
    if not os.path.exists(f"{out}/state.npz"):
        return params, moments, 0
    with np.load(f"{out}/state.npz") as saved:
        if str(saved["recipe"]) != recipe:
            raise SystemExit(f"train.py: {out}/state.npz is of a run with other numbers ({saved['recipe']}); "
                             "remove it, or choose another --out")
        leaves = [jnp.asarray(saved[name]) for name in flat_state(params, moments)]
        params, *moments = jax.tree.unflatten(jax.tree.structure((params, *moments)), leaves)
        return params, tuple(moments), int(saved["step"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=4200)
    parser.add_argument("--rows", type=int, default=8, help="packed rows per step")
    parser.add_argument("--examples", type=int, default=150000)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--dropout", type=float, default=0.1, help="chance to leave out the last layer")
    parser.add_argument("--exit-scale", type=float, default=0.3)
    parser.add_argument("--save-every", type=float, default=300.0)
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)

    corpus, rng = Corpus(), random.Random(args.seed)
    examples = [corpus.draw(rng) for _ in range(args.examples)]
    held_out = {e.question for e in corpus.held_out_set(args.seed, 1000)}
    assert not any(e.question in held_out for e in examples), "a held-out question is in the training text"
    shape = Shape()
    texts = [f"user\n{e.question}\nassistant\n{e.answer}" for e in examples[:30000]]
    tokenizer = train_tokenizer(texts, shape.vocab)
    assert tokenizer.get_vocab_size() == shape.vocab, tokenizer.get_vocab_size()
    pairs = encode_examples(tokenizer, examples)
    print("mean prompt tokens", np.mean([len(p) for p, _ in pairs]),
          "mean answer tokens", np.mean([len(a) for _, a in pairs]), flush=True)

    params = init_params(shape, args.seed)
    print("parameters", count_params(params), flush=True)
    moments = (jax.tree.map(jnp.zeros_like, params), jax.tree.map(jnp.zeros_like, params))
    weights = exit_weights(shape.layers, args.exit_scale)
    drop = args.dropout * (2.0 ** (np.arange(shape.layers) / (shape.layers - 1)) - 1)
    choice = np.random.default_rng(args.seed + 1)
    batches = packed_batches(pairs, args.rows, args.seed + 2)
    recipe = json.dumps({name: value for name, value in vars(args).items() if name not in ("out", "save_every")})
    params, moments, done = load_state(args.out, params, moments, recipe)
    if done:
        print("going on behind step", done, flush=True)
    started = saved = time.time()
    recent = []
    for step in range(1, args.steps + 1):
        warm, left = min(1.0, step / 200), 1 - step / args.steps
        keep = choice.random(shape.layers) >= drop
        exits = np.append(np.sort(choice.choice(
            np.arange(FIRST_EXIT - 1, shape.layers - 1), EXITS_PER_STEP, replace=False)), shape.layers - 1)
        batch = next(batches)
        if step <= done:
            continue  # drawn, so that what follows is the same
        params, moments, last = train_step(params, moments, shape, batch, keep, exits, weights,
                                           args.rate * warm * max(left, 0.01), step)
        recent.append(last)
        if step % 100 == 0:
            print(f"step {step} loss of the last layer {float(np.mean(recent)):.4f} "
                  f"seconds {time.time() - started:.0f}", flush=True)
            recent = []
        if step == args.steps or time.time() - saved > args.save_every:
            saved = time.time()
            save(args.out, params, shape, tokenizer,
                 {**vars(args), "out": "", "step": step, "seconds": round(time.time() - started)})
            save_state(args.out, params, moments, step, recipe)
    os.remove(f"{args.out}/state.npz")


if __name__ == "__main__":
    main()
