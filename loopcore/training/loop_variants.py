# SPDX-License-Identifier: Apache-2.0
"""Variants of a loop to compare: sets of keyword arguments of :class:`loopcore.loop.Loop`, by name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from loopcore.errors import LoopcoreError, MotionError
from loopcore.loop import Loop
from loopcore.motion.field import MotionField
from loopcore.plate import Plate

STILL = "still"  # the first frame, shown all the time: the name of what every variant is compared with
_RESERVED = (STILL, "real")


@dataclass(frozen=True)
class Variant:
    """A name, and the keyword arguments of the loop."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


def parse_variants(texts: Sequence[str]) -> tuple[Variant, ...]:
    """Parses ``NAME=key:value,key:value``; values are read as int, float, true, false or text.

    Without any text returns one variant ``loop``, with the loop's own defaults.

    Raises:
        MotionError: no name, a name twice or reserved, or a pair without a colon.
    """
    variants = tuple(_parsed(text) for text in texts) or (Variant("loop"),)
    names = [variant.name for variant in variants]
    for name in names:
        if names.count(name) > 1:
            raise MotionError(f"two variants are called {name!r}: give each its own name")
    return variants


def _parsed(text: str) -> Variant:
    name, equals, rest = (part.strip() for part in text.partition("="))
    if not name or not equals:
        raise MotionError(f"variant {text!r} is not of the form NAME=key:value,key:value")
    if name in _RESERVED:
        raise MotionError(f"a variant cannot be called {name!r}: that row of the report is taken")
    options: dict[str, Any] = {}
    for pair in filter(None, (pair.strip() for pair in rest.split(","))):
        key, colon, value = (part.strip() for part in pair.partition(":"))
        if not key or not colon or not value:
            raise MotionError(f"variant {name!r}: {pair!r} is not of the form key:value")
        if key in options:
            raise MotionError(f"variant {name!r} has {key} twice")
        options[key] = _value(value)
    return Variant(name, options)


def _value(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def make_loop(plate: Plate, motion: MotionField, variant: Variant, frames: int) -> Loop:
    """Makes the variant's loop; ``frames`` is its length unless the variant has its own."""
    return Loop(plate, motion, **{"frames": frames, **variant.options})


def check_variants(variants: Sequence[Variant], frames: int) -> None:
    """Checks names and values of all options, the values by making a tiny loop.

    Raises:
        MotionError, EngineError: an option that the loop lacks, or a value that it refuses.
    """
    parameters = inspect.signature(Loop).parameters.values()
    known = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    size = (64, 64)
    plate = Plate(np.ones((*size, 3), np.float32), ("R", "G", "B"))
    motion = MotionField(np.ones((*size, 2), np.float32), np.ones(size, np.float32), np.ones(size, np.float32))
    for variant in variants:
        for key in variant.options:
            if key not in known:
                raise MotionError(f"variant {variant.name!r}: a loop has no option {key!r}: it has {', '.join(known)}")
        try:
            make_loop(plate, motion, variant, frames)
        except LoopcoreError as error:
            raise type(error)(f"variant {variant.name!r}: {error}") from None
        except (TypeError, ValueError) as error:  # of text where a number is due
            raise MotionError(f"variant {variant.name!r}: {error}") from None
