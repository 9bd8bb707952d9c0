"""The features that fire for each token, as compressed sparse rows."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, fields
from typing import Any, List, Optional, Tuple

import numpy as np

from ._calls import float_pointer, integer, integers, make
from ._library import library
from .errors import Error


@dataclass(frozen=True, eq=False)
class Features:
    """Row r holds the features ``indices[indptr[r]:indptr[r + 1]]``, ascending, with their ``values``.

    ``excluded`` marks rows of tokens that dictionaries are not trained on (beginning and end of a
    text, padding): their features mean nothing. ``positions`` of watched features: where in the
    sequence each row stands. Two are equal whose numbers are, all of them.
    """

    indptr: np.ndarray
    indices: np.ndarray
    values: np.ndarray
    width: int
    excluded: np.ndarray
    positions: Optional[np.ndarray] = None

    @property
    def shape(self) -> Tuple[int, int]:
        return len(self.indptr) - 1, self.width

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Features):
            return NotImplemented
        return all(np.array_equal(getattr(self, one.name), getattr(other, one.name)) for one in fields(Features))

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def __repr__(self) -> str:
        return f"<cabochon.Features of {len(self)} tokens, {self.l0:.1f} of {self.width} each>"

    def row(self, index: int) -> Tuple[np.ndarray, np.ndarray]:
        """The features of one token and their values."""
        index = range(len(self))[index]
        part = slice(self.indptr[index], self.indptr[index + 1])
        return self.indices[part], self.values[part]

    @property
    def l0(self) -> float:
        """Features per token, over the tokens that are not excluded."""
        counted = self.excluded == 0
        return float(np.diff(self.indptr)[counted].mean()) if counted.any() else 0.0

    def to_dense(self) -> np.ndarray:
        """float32 [tokens, width]: large, and mostly zeros."""
        dense = np.zeros(self.shape, np.float32)
        dense[np.repeat(np.arange(len(self)), np.diff(self.indptr)), self.indices] = self.values
        return dense

    def to_scipy(self) -> Any:
        """A scipy.sparse.csr_matrix of the same numbers."""
        from scipy.sparse import csr_matrix

        return csr_matrix((self.values, self.indices.astype(np.int64), self.indptr), shape=self.shape)

    def top(self, k: int = 10) -> List[List[Tuple[int, float]]]:
        """For each token its k strongest features, strongest first."""
        rows = []
        for index in range(len(self)):
            indices, values = self.row(index)
            order = np.argsort(-values, kind="stable")[:k]
            rows.append([(int(indices[i]), float(values[i])) for i in order])
        return rows


def _array(function: str, handle: Any, dtype: Any) -> np.ndarray:
    length = ctypes.c_size_t()
    pointer = getattr(library(), function)(handle, ctypes.byref(length))
    if not pointer or not length.value:
        return np.empty(0, dtype)
    return np.ctypeslib.as_array(pointer, (length.value,)).astype(dtype, copy=True)


def taken(handle: Any, positions: Optional[np.ndarray] = None) -> Features:
    """Copies a handle's arrays; the handle stays the caller's."""
    return Features(
        indptr=_array("cabochon_features_offsets", handle, np.int64),
        indices=_array("cabochon_features_indices", handle, np.uint32),
        values=_array("cabochon_features_values", handle, np.float32),
        width=library().cabochon_features_width(handle),
        excluded=_array("cabochon_features_excluded", handle, np.uint8),
        positions=positions,
    )


def given(features: Features) -> int:
    """A new handle with these features, the caller's to free."""
    indptr = integers("indptr", features.indptr, np.uintp)
    indices = integers("indices", features.indices, np.uint32)
    values = np.ascontiguousarray(features.values, np.float32)
    if len(indptr) == 0 or len(indices) != len(values) or int(indptr[-1]) != len(indices):
        raise Error("invalid_argument", f"features: {len(indices)} indices, {len(values)} values, and indptr to another end")
    return make(
        "cabochon_features_create",
        integer("width", features.width, 0, 2**32 - 1),
        len(indptr) - 1,
        indptr.ctypes.data_as(ctypes.POINTER(ctypes.c_size_t)),
        indices.ctypes.data_as(ctypes.POINTER(ctypes.c_uint32)),
        float_pointer(values),
    )


def empty(width: int) -> Features:
    """No rows yet."""
    return Features(
        indptr=np.zeros(1, np.int64),
        indices=np.empty(0, np.uint32),
        values=np.empty(0, np.float32),
        width=width,
        excluded=np.empty(0, np.uint8),
        positions=np.empty(0, np.int64),
    )


def joined(parts: List[Features]) -> Features:
    """The rows of several, one after another."""
    ends = np.cumsum([0] + [len(part.indices) for part in parts])
    return Features(
        indptr=np.concatenate([[0]] + [part.indptr[1:] + end for part, end in zip(parts, ends)]).astype(np.int64),
        indices=np.concatenate([part.indices for part in parts]),
        values=np.concatenate([part.values for part in parts]),
        width=parts[0].width,
        excluded=np.concatenate([part.excluded for part in parts]),
        positions=np.concatenate([part.positions for part in parts]),
    )


def before(features: Features, end: int) -> Features:
    """The rows of positions below ``end``; positions ascend."""
    count = int(np.searchsorted(features.positions, end))
    last = features.indptr[count]
    return Features(
        indptr=features.indptr[: count + 1],
        indices=features.indices[:last],
        values=features.values[:last],
        width=features.width,
        excluded=features.excluded[:count],
        positions=features.positions[:count],
    )
