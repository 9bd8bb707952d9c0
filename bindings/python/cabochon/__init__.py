"""Gemma 2 and Gemma 3 text models on CPUs.

    model = cabochon.Model("model.gguf")
    print(model.generate("The capital of France is", max_tokens=8).text)

A model may be used from any number of threads at once. A session is one conversation; its calls wait
for each other, but not for a stream, which has the session to itself. ``Session.cancel``, ``Model.cancel``
and ``Guard.cancel`` may come from any thread. See ``Model``.
"""

from __future__ import annotations

from .engine import backends, describe, version
from .errors import Error
from .features import Features
from .generation import Generation, Timings, TokenLogprob
from .guard import Check, Guard, Guarding, Verdict
from .model import Model
from .sae import SAE, Steer
from .session import Session
from .stream import TextStream, WatchedText

__version__ = "1.0.0"

__all__ = [
    "Check",
    "Error",
    "Features",
    "Generation",
    "Guard",
    "Guarding",
    "Model",
    "SAE",
    "Session",
    "Steer",
    "TextStream",
    "Timings",
    "TokenLogprob",
    "Verdict",
    "WatchedText",
    "backends",
    "describe",
    "version",
]
