"""Sparse autoencoders: Gemma Scope's dictionaries of features, and edits by them."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from typing import Any, Optional, Sequence, Tuple, Union

import numpy as np

from . import _declarations as c
from ._calls import c_string, call, choice, float_pointer, integer, integers, make, members, real, wrong_type
from ._handle import Handle, handle_of
from ._library import library
from .engine import engine
from .errors import Error
from .features import Features, given, taken

Path = Union[str, "os.PathLike[str]"]


class SAE(Handle):
    """A Gemma Scope params.npz, or the params.safetensors of Gemma Scope 2; or the folder with it.

    ``site`` ("resid_post" and so on, or Gemma Scope's "res", "att", "mlp", "transcoder", "embedding")
    and ``layer`` come from the path's folders, as in ``gemma-scope-2b-pt-res/layer_12``, where they are
    not given. Any number of threads may use it.

    The encoder is laid out anew, one row per feature. Where that takes 32 MB or more it stands in a
    mapped file of ``$XDG_CACHE_HOME/cabochon/encoders`` (``~/.cache/cabochon/encoders``), which later
    loads find again and which may be deleted at any time; ``cache`` names another folder, and False
    keeps the encoder in memory. A decoder that the dictionary has deflated stands in that file as well.
    """

    def __init__(
        self,
        path: Path,
        site: Optional[str] = None,
        layer: Optional[int] = None,
        *,
        backend: Optional[str] = None,
        threads: Optional[int] = None,
        cache: Union[None, bool, Path] = None,
    ) -> None:
        options = c.SAEOptions()
        library().cabochon_sae_options_init(ctypes.byref(options), ctypes.sizeof(options))
        options.site = None if site is None else c_string("site", site)
        options.backend = None if backend is None else c_string("backend", backend)
        if cache is False:
            options.flags |= c.SAE_IN_MEMORY
        elif cache is not None and cache is not True:
            options.cache = c_string("cache", cache)
        if layer is not None:
            options.flags |= c.SAE_LAYER
            options.layer = integer("layer", layer, 0, 2**20 - 1)
        with engine(threads) as engine_handle:
            handle = make("cabochon_sae_load", engine_handle, c_string("path", path), ctypes.byref(options))
        super().__init__(handle, library().cabochon_sae_free)

    def only(self, features: Sequence[int]) -> "SAE":
        """This dictionary, of which only these features are encoded, for ``encode``, ``features`` and ``watch``.

        Their rows of the encoder alone are read, with the same bits as ever; the other features never
        fire for it. ``width`` and the features' numbers stay, and so do decoding, ``direction`` and steering.
        A feature out of range, or one that comes twice, is refused.
        """
        numbers = integers("features", features, np.uint32)
        array = numbers.ctypes.data_as(ctypes.POINTER(ctypes.c_uint32))
        chosen = SAE.__new__(SAE)
        Handle.__init__(chosen, make("cabochon_sae_only", self._handle, array, len(numbers)), library().cabochon_sae_free)
        return chosen

    def _about(self) -> str:
        return f" {self.kind} of {self.width} features at {self.layer}.{self.site}"

    @property
    def width(self) -> int:
        """Features."""
        return library().cabochon_sae_width(self._handle)

    @property
    def input_size(self) -> int:
        """Numbers of an activation that it reads."""
        return library().cabochon_sae_input_size(self._handle)

    @property
    def output_size(self) -> int:
        """Numbers of an activation that it reconstructs."""
        return library().cabochon_sae_output_size(self._handle)

    @property
    def site(self) -> str:
        """Where in the layer it reads, such as "resid_post"."""
        return (library().cabochon_sae_site(self._handle) or b"").decode()

    @property
    def layer(self) -> int:
        return library().cabochon_sae_layer(self._handle)

    @property
    def kind(self) -> str:
        """ "autoencoder" or "transcoder"."""
        return (library().cabochon_sae_kind(self._handle) or b"").decode()

    @property
    def average_l0(self) -> Optional[int]:
        """Active features per token in training, where the path says so."""
        return library().cabochon_sae_average_l0(self._handle) or None

    def encode(self, x: Any) -> Features:
        """The features of activations, float32 [tokens, input_size]."""
        rows = _rows(x, self.input_size)
        handle = make("cabochon_sae_encode", self._handle, float_pointer(rows), len(rows))
        try:
            return taken(handle)
        finally:
            library().cabochon_features_free(handle)

    def decode(self, features: Features, x: Any = None) -> np.ndarray:
        """The reconstruction: float32 [tokens, output_size].

        ``x``, the activations that were encoded, is needed by a dictionary with a skip connection alone.
        """
        if not isinstance(features, Features):
            raise wrong_type("features", "Features", features)
        rows = None if x is None else _rows(x, self.input_size)
        if rows is not None and len(rows) != len(features):
            raise Error("invalid_argument", f"{len(rows)} rows of x for {len(features)} rows of features")
        output = np.empty((len(features), self.output_size), np.float32)
        length = ctypes.c_size_t(output.size)
        handle = given(features)
        try:
            pointer = None if rows is None else float_pointer(rows)
            call("cabochon_sae_decode", self._handle, handle, pointer, float_pointer(output), ctypes.byref(length))
        finally:
            library().cabochon_features_free(handle)
        return output

    def direction(self, feature: int) -> np.ndarray:
        """A feature's decoder row: float32 [output_size]."""
        output = np.empty(self.output_size, np.float32)
        length = ctypes.c_size_t(output.size)
        call("cabochon_sae_direction", self._handle, _feature(feature), float_pointer(output), ctypes.byref(length))
        return output


def _rows(x: Any, size: int) -> np.ndarray:
    try:
        rows = np.ascontiguousarray(x, np.float32)
    except (TypeError, ValueError):
        raise wrong_type("activations", "an array of float32", x) from None
    if rows.ndim == 1:
        rows = rows[None]
    if rows.ndim != 2 or rows.shape[1] != size:
        raise Error("invalid_argument", f"activations of shape {rows.shape}: [tokens, {size}] is needed")
    return rows


def _feature(number: int) -> int:
    return integer("feature", number, 0, 2**32 - 1)


@dataclass(frozen=True)
class Steer:
    """An edit of one feature while a model computes.

    With h the activation where ``sae`` writes, v the feature's decoder row and f its activation:

    - "add": h + strength v; "set": h + (strength - f) v; "scale": h + (strength f - f) v; "ablate": h - f v
    - "orthogonal": the part of h along v times strength; "cap": that part at most strength long

    ``positions``: None is all of them, "answer" those from the answer's first token on, or a sequence of
    numbers. ``condition`` (sae, feature, threshold): only where that feature is above its threshold.
    """

    sae: SAE
    feature: int
    strength: float = 0.0
    mode: str = "add"
    positions: Union[None, str, Sequence[int]] = None
    condition: Optional[Tuple[SAE, int, float]] = None


def interventions(steer: Sequence[Steer] = (), splice: Sequence[SAE] = (), watch: Sequence[SAE] = ()) -> Tuple[Any, Any]:
    """The C struct, and what must stay alive as long as it is used."""
    result = c.Interventions()
    library().cabochon_interventions_init(ctypes.byref(result), ctypes.sizeof(result))
    steer = members("steer", steer, Steer)
    edits = (c.Steer * len(steer))()
    alive = [edits, steer]
    for target, edit in zip(edits, steer):
        target.mode = choice("mode", edit.mode, c.STEER_MODES)
        target.sae, target.feature = handle_of("sae", edit.sae, SAE), _feature(edit.feature)
        target.strength = real("strength", edit.strength)
        if edit.positions is None:
            target.positions = c.POSITIONS_ALL
        elif isinstance(edit.positions, str):
            if edit.positions != "answer":
                raise Error("invalid_argument", f"positions is {edit.positions!r}: None, 'answer' or a sequence of numbers")
            target.positions = c.POSITIONS_ANSWER
        else:
            numbers = integers("positions", edit.positions, np.uintp)
            target.positions = c.POSITIONS_LISTED
            target.position_list = numbers.ctypes.data_as(ctypes.POINTER(ctypes.c_size_t))
            target.position_count = len(numbers)
            alive.append(numbers)
        if edit.condition is not None:
            try:
                sae, feature, threshold = edit.condition
            except (TypeError, ValueError):
                raise wrong_type("condition", "(sae, feature, threshold)", edit.condition) from None
            target.condition_sae, target.condition_feature = handle_of("condition's sae", sae, SAE), _feature(feature)
            target.condition_threshold = real("condition's threshold", threshold)
    result.steer, result.steer_count = edits, len(edits)
    for name, saes in (("splice", splice), ("watch", watch)):
        saes = members(name, saes, SAE)
        handles = (ctypes.c_void_p * len(saes))(*[sae._handle for sae in saes])
        setattr(result, name, handles)
        setattr(result, f"{name}_count", len(handles))
        alive += [saes, handles]
    return result, alive
