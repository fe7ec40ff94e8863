#!/usr/bin/env python3
"""Measures an exported GGUF on held-out questions, for each depth.

For a depth k the model is cut after k layers; the shared norm and head answer from there.  On the tokens
of the right answer (end token included) it measures

* accuracy:   the share of questions whose whole answer comes out exactly in greedy decoding.  Greedy
              decoding writes the right answer if, and only if, the right token is the best one at each
              place of the right answer, so one pass is enough;
* perplexity: exp of the mean negative log probability of the right tokens;
* entropy:    mean entropy, in nats, of the predicted distributions.

usage: evaluate.py --model FILE.gguf [--json FILE] [--count 960] [--seed 7]
"""
import argparse
import json
import os
from collections import defaultdict

import numpy as np

from corpus import FACT_QUESTIONS, Corpus
from gguf_reference import Model
from text_format import BOS_ID, prompt_text

DEPTHS = range(4, 17)


def measure(model, examples):
    """Sums per depth over all examples."""
    totals = {d: defaultdict(float) for d in DEPTHS}
    tasks = defaultdict(lambda: defaultdict(list))
    tokens = 0
    for e in examples:
        prompt = [BOS_ID] + model.tokenizer.encode(prompt_text(e.question)).ids
        answer = model.tokenizer.encode(e.answer).ids + [model.meta["tokenizer.ggml.eos_token_id"]]
        assert model.tokenizer.decode(answer[:-1]) == e.answer
        states = model.states(prompt + answer[:-1])
        tokens += len(answer)
        for depth in DEPTHS:
            logits = model.logits(states[depth - 1][len(prompt) - 1:]).astype(np.float64)
            logp = logits - logits.max(axis=-1, keepdims=True)
            logp -= np.log(np.exp(logp).sum(axis=-1, keepdims=True))
            right = bool(np.all(logp.argmax(axis=-1) == answer))
            totals[depth]["right"] += right
            totals[depth]["nll"] -= logp[np.arange(len(answer)), answer].sum()
            totals[depth]["entropy"] -= (np.exp(logp) * logp).sum()
            tasks[e.task][depth].append(right)
    return totals, tasks, tokens


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--json")
    parser.add_argument("--count", type=int, default=960)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    model, examples = Model(args.model), Corpus().held_out_set(args.seed, args.count)
    totals, tasks, tokens = measure(model, examples)
    rows = [{"depth": d, "accuracy": round(t["right"] / len(examples), 4),
             "perplexity": round(float(np.exp(t["nll"] / tokens)), 4),
             "mean_entropy_nats": round(t["entropy"] / tokens, 4)} for d, t in totals.items()]
    print("| depth | exact answers | perplexity | mean entropy (nats) |\n|---|---|---|---|")
    for r in rows:
        print(f"| {r['depth']} | {100 * r['accuracy']:.1f} % | {r['perplexity']:.3f} | {r['mean_entropy_nats']:.3f} |")
    print("\nexact answers by task, in percent")
    shown = [4, 6, 8, 10, 12, 14, 16]
    print("| task | questions |" + "".join(f" {d} |" for d in shown) + "\n|---|---|" + "---|" * len(shown))
    for task in sorted(tasks, key=lambda t: (t not in FACT_QUESTIONS, t)):
        line = "".join(f" {100 * np.mean(tasks[task][d]):.0f} |" for d in shown)
        print(f"| {task} | {len(tasks[task][16])} |" + line)
    print(f"\n{len(examples)} questions, {tokens / len(examples):.1f} answer tokens on average, end token included")
    if args.json:
        result = {"model": os.path.basename(args.model), "questions": len(examples), "seed": args.seed,
                  "answer_tokens_mean": round(tokens / len(examples), 2), "depths": rows}
        with open(args.json + ".tmp", "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)
            file.write("\n")
        os.replace(args.json + ".tmp", args.json)


if __name__ == "__main__":
    main()
