"""Checkpoints of the small model's kind, with other weights or shapes."""

import json
import shutil

import numpy as np

import reference


def brain_floats(values):
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


ENCODINGS = {"F32": np.float32, "F16": np.float16, "BF16": brain_floats}


def write(folder, original, tensors, dtype, **config):
    """The original with these tensors in one file, and with these changes of its configuration."""
    folder.mkdir()
    for file in original.iterdir():
        if file.is_file() and ".safetensors" not in file.name:
            shutil.copy(file, folder)
    if config:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | config))
    header, parts, end = {}, [], 0
    for name, tensor in tensors.items():
        data = ENCODINGS[dtype](tensor).tobytes()
        header[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [end, end + len(data)]}
        parts.append(data)
        end += len(data)
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + b"".join(parts))
    return folder


def write_wide(folder, original, dtype, intermediate=256, change=lambda tensors, rng: None):
    """Random weights in rows of 128 and more columns, as backends pack BF16: some zeros, and some far smaller."""
    rng = np.random.default_rng(11)
    _, tensors = reference.load(original)
    width = {64: 128, 160: intermediate}  # the original's widths that grow
    for name, tensor in tensors.items():
        shape = [width.get(size, size) for size in tensor.shape]
        values = rng.normal(0, 0.1 if len(shape) == 1 else shape[-1] ** -0.5, shape)
        if len(shape) > 1:
            values *= rng.choice([1, 0, 2.0**-30, -(2.0**4)], shape, p=[0.994, 0.002, 0.002, 0.002])
        tensors[name] = values.astype(np.float32)
    change(tensors, rng)
    return write(
        folder, original, tensors, dtype, hidden_size=128, intermediate_size=intermediate, num_attention_heads=8
    )
