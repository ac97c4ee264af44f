# SPDX-License-Identifier: Apache-2.0
"""Equality of dataclasses that hold arrays."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, cast

import numpy as np


class EqualByContent:
    """A base of dataclasses, made with ``eq=False``: objects are equal whose class and fields are.

    Arrays are equal bit for bit, with dtype and shape: NaN equals the same NaN, and 0 is not -0; NaN among other
    values equals NaN. Such objects cannot be hashed (TypeError), as their arrays may be written to; a ``digest()``,
    where there is one, or ``id()`` serves as a key.
    """

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(_same(getattr(self, f.name), getattr(other, f.name)) for f in fields(cast(Any, self)))


def _same(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        alike = type(a) is type(b) and a.dtype == b.dtype and a.shape == b.shape
        return alike and bool(np.array_equal(_bits(a), _bits(b)))
    if type(a) is type(b) and isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    return bool(a == b) or bool(a != a and b != b)


def _bits(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
