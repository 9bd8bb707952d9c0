#!/usr/bin/env python3
"""Makes the folders that compare.py's peers read, of Gemma 2 2B's shapes with random weights.

    pip install torch "transformers<=5.0" optimum-intel nncf openvino-genai
    Benchmarks/make_peers.py FOLDER [--formats bf16 int8 int4]

FOLDER/bf16 is Hugging Face's format, FOLDER/int8 and FOLDER/int4 are OpenVINO's, converted from it by
optimum-cli's defaults: int8 with a scale for each row; int4 in groups of 128, embedding and head int8.
Text needs a tokenizer, which is not made: compare.py gives token ids. Takes 8 GB of memory and 15 GB of
disk; what is there already is kept. optimum-intel 2.2 converts Gemma with transformers up to 5.0 only.
It leaves out the softcap in attention, so that OpenVINO computes a little less than the others.
"""

import argparse
import pathlib
import subprocess
import sys


def make_bf16(folder):
    import torch
    import transformers

    config = transformers.Gemma2Config(
        vocab_size=256000, hidden_size=2304, intermediate_size=9216, num_hidden_layers=26, num_attention_heads=8,
        num_key_value_heads=4, head_dim=256, sliding_window=4096, query_pre_attn_scalar=256, dtype="bfloat16")
    with torch.device("meta"):
        model = transformers.Gemma2ForCausalLM(config).to(torch.bfloat16)
    model = model.to_empty(device="cpu")
    model.tie_weights()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():  # all different: equal weights would be stored and read once
            parameter.uniform_(-0.035, 0.035, generator=generator)
    model.save_pretrained(folder)


def convert(source, folder, weights):
    program = pathlib.Path(sys.executable).with_name("optimum-cli")
    subprocess.run([program, "export", "openvino", "--model", source, "--task", "text-generation-with-past",
                    "--weight-format", weights, folder], check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--formats", nargs="+", choices=("bf16", "int8", "int4"), default=("bf16", "int8", "int4"))
    options = parser.parse_args()
    source = options.folder / "bf16"
    if not (source / "config.json").exists():
        make_bf16(source)
    for weights in options.formats:
        if weights != "bf16" and not (options.folder / weights / "openvino_model.bin").exists():
            convert(source, options.folder / weights, weights)


if __name__ == "__main__":
    main()
