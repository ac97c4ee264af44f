# SPDX-License-Identifier: Apache-2.0
"""The layers of an EXR file, including parts, views and passes, and the choice of the one that is the picture.

Channel ``C`` of layer ``L`` is named ``L.C``; layers nest. Blender's ``ViewLayer.Combined.R``, Nuke's ``beauty.red``,
``R`` in a part named ``rgba_left``, and a stereo file's ``left.R`` are all in layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from loopcore.errors import PlateError
from loopcore.exr import ExrPart

_LONG_NAMES = {"red": "R", "green": "G", "blue": "B", "alpha": "A"}
_COLORS = ("R", "G", "B")
# Last words of the names of finished pictures, in order of preference.
_PICTURES = (("combined",), ("rgba", "rgb", "beauty", "default", "main", "master"))


@dataclass(frozen=True)
class Layer:
    """One layer of one part: its name, and its channels from short name ("R", "A", "RY", "Z") to full name."""

    part: ExrPart
    index: int
    prefix: str
    channels: dict[str, str]
    of_many_parts: bool

    @property
    def title(self) -> str:
        """The name that distinguishes it within the file."""
        if not self.of_many_parts:
            return self.prefix
        return (
            self.prefix
            if self.prefix.startswith(self.part.name)
            else ".".join(filter(None, (self.part.name, self.prefix)))
        )

    @property
    def view(self) -> str:
        """Its stereo view, if the file names one."""
        view = self.part.attributes.get("view")
        if isinstance(view, str):
            return view
        # A part may hold several views; the channels of the first have no prefix.
        views = self.part.attributes.get("multiView")
        return views[0] if isinstance(views, list) and views and not self.prefix else ""

    @property
    def names(self) -> set[str]:
        """All names that select the layer."""
        names = {self.title, self.prefix, ".".join(filter(None, (self.part.name, self.prefix)))}
        if self.of_many_parts or not self.prefix:
            names.add(self.part.name)
        if not self.prefix:
            names.add(self.view)
        return names - {""}

    @property
    def kind(self) -> str:
        """``rgb`` (any of R, G, B), ``ycc`` (Y, RY and BY), ``y``, ``one`` (a single channel, any name) or nothing."""
        if any(color in self.channels for color in _COLORS):
            return "rgb"
        if {"Y", "RY", "BY"} <= self.channels.keys():
            return "ycc"
        if "Y" in self.channels and not {"x", "X"} & self.channels.keys():  # beside X it is a vector's
            return "y"
        return "one" if len(self.channels) == 1 else ""


def layers_of(parts: list[ExrPart]) -> list[Layer]:
    """All layers of a file, in file order."""
    return [layer for index, part in enumerate(parts) for layer in _part_layers(part, index, len(parts) > 1)]


def _part_layers(part: ExrPart, index: int, of_many_parts: bool) -> Iterator[Layer]:
    groups: dict[str, dict[str, str]] = {}
    for full in part.channels:
        prefix, _, last = full.rpartition(".")
        groups.setdefault(prefix, {})[_short_name(last)] = full
    for prefix, channels in groups.items():
        yield Layer(part, index, prefix, channels, of_many_parts)


def _short_name(name: str) -> str:
    long = _LONG_NAMES.get(name.lower())
    if long is not None:
        return long
    return name.upper() if name.upper() in ("R", "G", "B", "A", "Y", "RY", "BY") else name


def choose_layer(parts: list[ExrPart], name: str | None) -> Layer:
    """Return the layer called `name`, or by default the file's main picture.

    A name is a layer (``diffuse``, ``ViewLayer.Combined``), a part, both (``part.layer``), or a view; case is ignored
    and leading words may be left out if only one layer fits. The default is the unnamed layer, then Combined, then rgba
    or beauty, of several views the first; else the only layer with colour.

    Raises:
        PlateError: no layer fits, or several do. The message lists the layers; it does not name the path.
    """
    layers = layers_of(parts)
    if name is None:
        return _default_layer(layers)
    wanted = name.strip().lower()
    for fits in (
        lambda layer: name in layer.names,
        lambda layer: wanted in {known.lower() for known in layer.names},
        lambda layer: any(known.lower().endswith(f".{wanted}") for known in layer.names),
    ):
        found = [layer for layer in layers if fits(layer)]
        found = [layer for layer in found if layer.kind in ("rgb", "ycc", "y")] or found
        if len(found) > 1:
            raise PlateError(f"the layer {name!r} could be any of {_listed(found)}: give its full name")
        if found:
            return _with_picture(found[0])
    raise PlateError(f"it has no layer {name!r}, only {_listed(layers)}")


def _with_picture(layer: Layer) -> Layer:
    if not layer.kind:
        channels = ", ".join(layer.channels.values())
        raise PlateError(f"its layer {layer.title!r} holds no colour, only the channels {channels}")
    return layer


def _default_layer(layers: list[Layer]) -> Layer:
    colored = [layer for layer in layers if layer.kind in ("rgb", "ycc", "y")]
    if not colored:
        if len(layers) == 1 and layers[0].kind:
            return layers[0]
        raise PlateError(f"it holds no colour, only {_listed(layers)}")
    ranks = {id(layer): _rank(layer) for layer in colored}
    best = min(ranks.values())
    first, *others = (layer for layer in colored if ranks[id(layer)] == best)
    # Of the views of one picture the first is the default.
    if others and not (first.view and all(layer.view and layer.view != first.view for layer in others)):
        raise PlateError(f"it has several layers, say which with layer=: {_listed(layers)}")
    return first


def _rank(layer: Layer) -> int:
    if not layer.prefix and not layer.of_many_parts:
        return 0
    words = layer.title.lower().replace("_", ".").split(".")
    if layer.view and words[-1] == layer.view.lower():
        words = words[:-1]
    last = words[-1] if words else ""
    if not last:
        return 0
    for rank, names in enumerate(_PICTURES, start=1):
        if last in names:
            return rank
    return len(_PICTURES) + 1


def _listed(layers: list[Layer]) -> str:
    titles = []
    for layer in layers[:40]:
        lasts = [full.rpartition(".")[2] for full in layer.channels.values()]
        lasts.sort(key=lambda name: "RGBA".find(name) % 5)  # -1, not found, sorts last
        titles.append(f"{layer.title or '(unnamed)'} ({', '.join(lasts)})")
    return ", ".join(titles)
