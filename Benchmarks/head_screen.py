#!/usr/bin/env python3
"""How many rows of the head a cheaper copy would leave to the full product, at so many bits a weight.

Heads of floats have such a copy, of 8 bits (Sources/Cabochon/Gemma/HeadScreen.swift); this counts for others.

    Benchmarks/head_screen.py MODEL.gguf TEXT [--tokens 300] [--bits 4 5 6]

A screen reads each row of the head in fewer bits and bounds the error of the logit by Cauchy-Schwarz:
by the norms of the whole row's error and of the input, or block by block of 32 columns. Rows whose upper
bound reaches the best (or the 64th best) lower bound are left: they would be computed in full. Prints the
median, mean and largest number of rows left, for the model's own final activations over the text.
CABOCHON_LIBRARY, or else build/; needs the gguf package and some 8 GB for a head of 262,144 x 640.
"""

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "bindings" / "python"))

import cabochon
import numpy

BLOCK = 32


def fewer_bits(head, bits):
    blocks = head.reshape(len(head), -1, BLOCK)
    scale = abs(blocks).max(2, keepdims=True) / (2 ** (bits - 1) - 1) + 1e-30
    scale = scale.astype(numpy.float16).astype(numpy.float32)
    codes = numpy.clip(numpy.round(blocks / scale), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return (codes * scale).reshape(head.shape)


def final_activations(path, tensors, text, tokens):
    """After the final norm, [tokens, width]."""
    model = cabochon.Model(path, backend="scalar")
    last = max(int(name.split(".")[1]) for name in tensors if name.startswith("blk."))
    site = f"{last}.resid_post"
    rows = model.activations(model.tokenize(text)[:tokens], site)[site]
    gain = numpy.array(tensors["output_norm.weight"].data, numpy.float32)  # "1 + w" is in the file
    return rows / numpy.sqrt((rows * rows).mean(1, keepdims=True) + 1e-6) * gain


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("text")
    parser.add_argument("--tokens", type=int, default=300)
    parser.add_argument("--bits", type=int, nargs="+", default=(4, 5, 6))
    options = parser.parse_args()
    try:
        import gguf
    except ModuleNotFoundError as missing:
        parser.exit(1, f"{parser.prog}: {missing}; pip install gguf\n")
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(options.model).tensors}
    embedding = tensors["token_embd.weight"]
    head = gguf.quants.dequantize(embedding.data, embedding.tensor_type).astype(numpy.float32)
    text = pathlib.Path(options.text).read_text()
    inputs = final_activations(options.model, tensors, text, options.tokens)
    norms = numpy.linalg.norm(inputs, axis=1)
    block_norms = numpy.linalg.norm(inputs.reshape(len(inputs), -1, BLOCK), axis=2)
    print("| bits | bound by | best | rows left: median | mean | most |\n| ---: | --- | ---: | ---: | ---: | ---: |")
    for bits in options.bits:
        screen = fewer_bits(head, bits)
        error, logits = head - screen, inputs @ screen.T
        row_bound = norms[:, None] * numpy.linalg.norm(error, axis=1)[None]
        block_bound = block_norms @ numpy.linalg.norm(error.reshape(len(head), -1, BLOCK), axis=2).T
        for name, bound in (("row", row_bound), ("blocks", block_bound)):
            for best in (1, 64):
                lowest = -numpy.partition(bound - logits, best - 1, axis=1)[:, best - 1]
                left = (logits + bound >= lowest[:, None]).sum(1)
                print(f"| {bits} | {name} | {best} | {numpy.median(left):.0f} | {left.mean():.0f} | {left.max()} |")


if __name__ == "__main__":
    main()
