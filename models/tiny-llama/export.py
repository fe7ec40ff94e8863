#!/usr/bin/env python3
"""Writes the trained weights as GGUF files for llama.cpp: F16 and Q8_0.

Norm weights stay F32, as llama.cpp expects.  There is no output.weight: llama.cpp then uses the embedding
table as the head.  Files are written under a temporary name and renamed when they are whole.

usage: export.py --run DIR --out DIR [--name NAME] [--kinds f16,q8_0]
"""
import argparse
import json
import os

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Kind

from text_format import BOS_ID, CHAT_TEMPLATE, END_ID, SPECIAL

BLOCK_NAMES = {"attn_norm": "attn_norm", "ffn_norm": "ffn_norm", "q": "attn_q", "k": "attn_k", "v": "attn_v",
               "o": "attn_output", "gate": "ffn_gate", "up": "ffn_up", "down": "ffn_down"}


def tensors_of(weights):
    """(GGUF name, float32 array) of every tensor, in the order of the layers."""
    yield "token_embd.weight", weights["embed"]
    yield "output_norm.weight", weights["out_norm"]
    for layer in range(len(weights["q"])):
        for ours, theirs in BLOCK_NAMES.items():
            yield f"blk.{layer}.{theirs}.weight", weights[ours][layer]


def write_gguf(path, name, kind, weights, tokenizer, shape):
    writer = gguf.GGUFWriter(path + ".tmp", "llama")
    writer.add_name(f"EnergyLLM {name}")
    writer.add_description("A very small model that knows only made-up facts; made for tests of EnergyLLM.")
    writer.add_license("MIT OR Apache-2.0")
    writer.add_languages(["en"])
    writer.add_context_length(shape["context"])
    writer.add_embedding_length(shape["width"])
    writer.add_block_count(shape["layers"])
    writer.add_feed_forward_length(shape["ff"])
    writer.add_head_count(shape["heads"])
    writer.add_head_count_kv(shape["kv_heads"])
    writer.add_rope_dimension_count(shape["head_size"])
    writer.add_rope_freq_base(shape["rope_base"])
    writer.add_layer_norm_rms_eps(shape["eps"])
    writer.add_vocab_size(shape["vocab"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16 if kind == Kind.F16 else gguf.LlamaFileType.MOSTLY_Q8_0)
    if kind != Kind.F16:
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)

    vocab = sorted(tokenizer["model"]["vocab"].items(), key=lambda item: item[1])
    assert [index for _, index in vocab] == list(range(shape["vocab"]))
    merges = [m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([token for token, _ in vocab])
    writer.add_token_types([gguf.TokenType.CONTROL if token in SPECIAL else gguf.TokenType.NORMAL
                            for token, _ in vocab])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(BOS_ID)
    writer.add_eos_token_id(END_ID)
    writer.add_eot_token_id(END_ID)
    writer.add_pad_token_id(END_ID)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(CHAT_TEMPLATE)

    for tensor, array in tensors_of(weights):
        array = np.ascontiguousarray(array, np.float32)
        if array.ndim == 1:
            writer.add_tensor(tensor, array)
        elif kind == Kind.F16:
            writer.add_tensor(tensor, array.astype(np.float16))
        else:
            writer.add_tensor(tensor, gguf.quants.quantize(array, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(path + ".tmp", path)
    print(os.path.basename(path), os.path.getsize(path), "bytes")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True, help="folder that train.py wrote")
    parser.add_argument("--out", required=True, help="folder for the GGUF files")
    parser.add_argument("--name", default="tiny-llama")
    parser.add_argument("--kinds", default="f16,q8_0", help="which files, with commas")
    args = parser.parse_args()
    weights = dict(np.load(f"{args.run}/weights.npz"))
    with open(f"{args.run}/tokenizer.json", encoding="utf-8") as file:
        tokenizer = json.load(file)
    with open(f"{args.run}/train.json", encoding="utf-8") as file:
        shape = json.load(file)["shape"]
    kinds = {"f16": Kind.F16, "q8_0": Kind.Q8_0}
    for suffix in args.kinds.split(","):
        write_gguf(f"{args.out}/{args.name}-{suffix}.gguf", args.name, kinds[suffix], weights, tokenizer, shape)


if __name__ == "__main__":
    main()
