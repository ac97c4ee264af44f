# SPDX-License-Identifier: Apache-2.0
"""The layers of an EXR file that move with the plate: which channels, and how each kind is carried."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from loopcore.errors import PlateError
from loopcore.exr import ExrPart, writable
from loopcore.exr.layout import window_size
from loopcore.image import EqualByContent
from loopcore.plate.layers import Layer, layers_of

ALL = "all"
COLOUR, DATA, ID = "colour", "data", "id"
# Words in the names of layers that hold no light.
_DATA_WORDS = frozenset(
    "alpha depth disparity forward backward mask masks matte mattes mist motion motionvector mv n nn normal normals p"
    " pos position positions pref pworld st uv uvs vector vectors velocity z zbuffer zdepth".split()
)
_ID_WORDS = frozenset("id ids index indexob indexma objectindex materialindex".split())
_ID_NAME = re.compile(r"(asset|element|face|instance|mat|material|node|obj|object|particle|prim|shape)_?ids?$")
# Compressions that change pixels, also those that they were given by themselves.
LOSSY = frozenset(("b44", "b44a", "dwaa", "dwab"))
# Attributes of one still, or of the file as it was written.
_NOT_CARRIED = frozenset(("timeCode", "dwaCompressionLevel", "hash"))


@dataclass(frozen=True)
class CarriedLayer:
    """Channels of one layer that are carried alike.

    Attributes:
        part: index of their part.
        title: the layer's name.
        kind: "colour", "data" or "id".
        channels: short name ("R", "Z") to full name.
    """

    part: int
    title: str
    kind: str
    channels: dict[str, str]


@dataclass(frozen=True, eq=False)
class CarriedLayers(EqualByContent):
    """All that moves with a plate, in the file's order.

    Attributes:
        parts: the parts to write, with the carried channels as stored; without the pixels of the plate itself.
        layers: how they are carried.
        plate_part: index in `parts` of the part that the plate was read from.
        plate_channels: the plate's channels, to full name and stored type.
        title: name of the plate's own layer.
    """

    parts: tuple[ExrPart, ...]
    layers: tuple[CarriedLayer, ...]
    plate_part: int
    plate_channels: dict[str, tuple[str, np.dtype]]
    title: str

    def __str__(self) -> str:
        """Return the layers with their kinds: "diffuse (colour), depth (data)"."""
        names = [f"{layer.title or ', '.join(layer.channels)} ({layer.kind})" for layer in self.layers]
        return ", ".join(names) or "none but the plate"

    @property
    def nbytes(self) -> int:
        """Bytes of one frame's pixels, the plate's own among them."""
        part = self.parts[self.plate_part]
        width, height = window_size(part.data_window)
        own = sum(dtype.itemsize for _, dtype in self.plate_channels.values()) * width * height
        return own + sum(values.nbytes for part in self.parts for values in part.channels.values())

    def digest(self) -> str:
        """Return the SHA-256, in hex, of all that determines the carried layers: pixels, kinds and headers."""
        facts = [(layer.part, layer.title, layer.kind, sorted(layer.channels.items())) for layer in self.layers]
        types = sorted((name, full, dtype.str) for name, (full, dtype) in self.plate_channels.items())
        sha = hashlib.sha256(repr((facts, types, self.plate_part, self.title)).encode())
        for part in self.parts:
            header = (part.name, part.data_window, part.display_window, part.compression, part.tiles)
            sha.update(repr((header, sorted((name, str(value)) for name, value in part.attributes.items()))).encode())
            for name, values in sorted(part.channels.items()):
                sha.update(f"{name} {values.dtype.str} {values.shape}".encode())
                sha.update(np.ascontiguousarray(values).data)
        return sha.hexdigest()


def carried_layers(
    parts: Sequence[ExrPart], chosen: Layer, plate_channels: Iterable[str], names: Sequence[str], data: Sequence[str]
) -> CarriedLayers:
    """Return the layers that move with the chosen one.

    Args:
        parts: the file.
        chosen: the layer that is the plate.
        plate_channels: the plate's channels.
        names: of layers, parts, views or channels, case ignored, or "all".
        data: names of those that hold data, whatever they are called.

    Raises:
        PlateError: a name fits nothing, or a channel is subsampled.
    """
    every = layers_of(list(parts))
    known = {name for layer in every for full in layer.channels.values() for name in _called(layer, full)}
    wanted, told = (_fitting(some, known, every) for some in (names, data))
    layers, kept = [], [set[str]() for _ in parts]
    for layer in every:
        by_kind: dict[str, dict[str, str]] = {}
        for short, full in layer.channels.items():
            called = _called(layer, full)
            if _is_plate(layer, chosen, short) or not (ALL in wanted or called & wanted):
                continue
            size = window_size(layer.part.data_window)[::-1]
            if layer.part.channels[full].shape != size:
                raise PlateError(f"its channel {full!r} is subsampled: name the layers to carry without it")
            kind = _kind(layer, short, layer.part.channels[full].dtype, bool(called & told))
            by_kind.setdefault(kind, {})[short] = full
            kept[layer.index].add(full)
        layers += [CarriedLayer(layer.index, layer.title, kind, channels) for kind, channels in by_kind.items()]
    return _gathered(parts, chosen, tuple(plate_channels), layers, kept)


def _gathered(
    parts: Sequence[ExrPart], chosen: Layer, plate_channels: tuple[str, ...], layers: list[CarriedLayer],
    kept: list[set[str]],
) -> CarriedLayers:  # fmt: skip
    order = [index for index in range(len(parts)) if kept[index] or index == chosen.index]
    place = {index: position for position, index in enumerate(order)}
    written = [
        replace(
            parts[index],
            channels={name: values for name, values in parts[index].channels.items() if name in kept[index]},
            compression="zip" if parts[index].compression in LOSSY else parts[index].compression,
            attributes={
                name: value
                for name, value in writable(parts[index].attributes).items()
                if name not in _NOT_CARRIED and not name.startswith("loopcore/")
            },
        )
        for index in order
    ]
    own = {}
    for short in plate_channels:
        # Luminance and chroma become R, G and B: the library cannot write subsampled channels.
        full = chosen.channels.get(short) or ".".join(filter(None, (chosen.prefix, short)))
        stored = chosen.channels.get(short) or chosen.channels["Y"]
        dtype = chosen.part.channels[stored].dtype
        if dtype == np.uint32:
            raise PlateError(f"its channel {full!r} holds whole numbers: a plate with layers is half or float")
        own[short] = (full, dtype)
    numbered = tuple(replace(layer, part=place[layer.part]) for layer in layers)
    return CarriedLayers(tuple(written), numbered, place[chosen.index], own, chosen.title)


def _is_plate(layer: Layer, chosen: Layer, short: str) -> bool:
    """Return whether a channel is one that the plate is made of."""
    if (layer.index, layer.prefix) != (chosen.index, chosen.prefix):
        return False
    if chosen.kind == "one":
        return True
    return short in {"rgb": ("R", "G", "B", "A"), "ycc": ("Y", "RY", "BY", "A"), "y": ("Y", "A")}[chosen.kind]


def _called(layer: Layer, full: str) -> set[str]:
    """Return the names, in lower case, that select a channel."""
    return {name.lower() for name in (*layer.names, full, f"{layer.part.name}.{full}")}


def _fitting(names: Sequence[str], known: set[str], layers: Sequence[Layer]) -> set[str]:
    """Return the known names that are meant: those given, or those that end with them where there are none."""
    found: set[str] = set()
    for name in names:
        wanted = name.strip().lower()
        fits = {wanted} if wanted in known | {ALL} else {other for other in known if other.endswith(f".{wanted}")}
        if not fits:
            titles = ", ".join(layer.title or "(unnamed)" for layer in layers[:40])
            raise PlateError(f"it has no layer or channel {name!r}: its layers are {titles}")
        found |= fits
    return found


def _kind(layer: Layer, short: str, dtype: np.dtype, is_data: bool) -> str:
    if dtype == np.uint32:
        return ID
    if is_data:
        return DATA
    title = layer.prefix or layer.part.name
    plain = short in ("R", "G", "B", "A", "Y")
    names = [title.rpartition(".")[2]] + ([] if plain else [short])
    words = {word for name in names for word in _words(name)}
    if (
        words & _ID_WORDS
        or any(_ID_NAME.search(name.lower()) for name in names)
        or _is_cryptomatte(layer, title, words)
    ):
        return ID
    if words & _DATA_WORDS:
        return DATA
    return COLOUR if plain and layer.kind in ("rgb", "y") else DATA


def _is_cryptomatte(layer: Layer, title: str, words: set[str]) -> bool:
    """Return whether a layer holds a Cryptomatte's ids and coverages, by its name or by the file's header."""
    declared = [
        str(value).lower()
        for name, value in layer.part.attributes.items()
        if name.startswith("cryptomatte/") and name.endswith("/name") and value
    ]
    return any(word.startswith("crypto") for word in words) or title.lower().startswith(tuple(declared))


def _words(name: str) -> list[str]:
    """Return the words of a name in lower case: those of "WorldPosition", "depth_left", "Denoising Normal"."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]
