# SPDX-License-Identifier: Apache-2.0
"""Checks of files of weights, before a network of the shape that they declare is allocated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

_LARGEST = 8192  # of any number of a network's shape
_LARGEST_LOOPS = {"halvings": 16, "blocks": 512}  # numbers of layers


def pop_shape(notes: dict[str, str], names: Iterable[str]) -> dict[str, int]:
    """Removes a network's shape from the metadata of its file, and returns it.

    Raises:
        KeyError: a name is missing.
        ValueError: not a whole number, or out of range.
    """
    shape = {name: int(notes.pop(name)) for name in names}
    for name, value in shape.items():
        if not 0 <= value <= _LARGEST_LOOPS.get(name, _LARGEST):
            raise ValueError(f"{name} is {value}")
    return shape


def check_shapes(make: Callable[[], nn.Module], tensors: Mapping[str, Tensor]) -> None:
    """Compares the tensors' shapes with those of a network that is made without memory for its weights.

    Raises:
        ValueError: a tensor of another shape, or of a name that the network lacks.
    """
    import torch

    with torch.device("meta"):
        wanted = make().state_dict()
    for name, value in tensors.items():
        if name not in wanted or wanted[name].shape != value.shape:
            raise ValueError(f"{name} has the shape {tuple(value.shape)}")
