# SPDX-License-Identifier: Apache-2.0
"""Layers of Photoshop documents, composited by psd-tools (optional): one alone, and what is above and below it."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from loopcore import color
from loopcore.errors import LoopcoreWarning, PlateError, first_line
from loopcore.exr.layout import MAX_PIXELS
from loopcore.files.regular import PIXELS, open_regular
from loopcore.plate.stills import Still, with_profile

INSTALL = 'pip install "loopcore[psd]"'
_COLORS = {"RGB": ("R", "G", "B"), "GRAYSCALE": ("Y",)}
_ICC_PROFILE = 1039  # id of the image resource
_MOST_LISTED = 40


@dataclass(frozen=True)
class PsdLayer:
    """A layer or group of a document, as listed.

    Attributes:
        name: path through its groups, `Group/Water`.
        kind: as psd-tools names it: pixel, group, type, shape, smartobject, or an adjustment.
        blend: blend mode, `normal`, `multiply`...
        opacity: 0 to 1.
        visible: whether it and its groups are shown.
        box: left, top, right, bottom in pixels of the canvas; right and bottom are exclusive.
    """

    name: str
    kind: str
    blend: str
    opacity: float
    visible: bool
    box: tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class StackStill:
    """A still of a document's split stack.

    Attributes:
        name: of the layer or group; "" for several layers in one.
        blend: blend mode with which it is laid over what is below.
        still: its pixels on the whole canvas, opacity and masks applied.
    """

    name: str
    blend: str
    still: Still


@dataclass(frozen=True, eq=False)
class Split:
    """What surrounds a layer: one still of all below it, None if there is nothing; those above it, from below to above.

    Attributes:
        below: blended as the document does.
        blend: blend mode of the layer.
        above: neighbours with the blend mode `normal` are one still.
    """

    below: StackStill | None
    blend: str
    above: tuple[StackStill, ...]


def is_installed() -> bool:
    """Returns whether psd-tools is."""
    return importlib.util.find_spec("psd_tools") is not None


def list_layers(path: Path) -> list[PsdLayer]:
    """Returns a document's layers and groups, the lowest first.

    Raises:
        PlateError: psd-tools is missing, or the document is damaged or of an unsupported kind.
    """
    document = _open(path)
    return [
        PsdLayer(name, layer.kind, _blend(layer), layer.opacity / 255, layer.is_visible(), tuple(layer.bbox))
        for name, layer in _named(document)
    ]


def read_flat(path: Path, colorspace: str | None = None) -> Still:
    """Reads the document's picture: the one that the file holds, or its layers composited where that has transparency.

    Raises:
        PlateError: as `list_layers`.
    """
    document = _open(path)
    if len(document) and (document.numpy("shape") < 1).any() or not document.has_preview():
        return _still(document, _composited(document, document), colorspace)
    values = document.numpy("color").astype(np.float32)
    return _still(document, (values, np.ones_like(values[..., :1])), colorspace)


def read_layer(path: Path, name: str, colorspace: str | None = None) -> Still:
    """Reads one layer or group on the document's canvas.

    Its masks, opacity, effects and clipped layers are applied; its blend mode is only noted, in the metadata.

    Args:
        path: the document.
        name: path through groups (`Group/Water`), of which leading groups may be left out if only one layer fits.
        colorspace: instead of the document's profile.

    Raises:
        PlateError: as `list_layers`; no layer fits, or several do.
    """
    document = _open(path)
    full, layer = _chosen(document, name)
    still = _still(document, _composited(document, layer), colorspace)
    still.metadata["psdLayer"], still.metadata["psdBlendMode"] = full, _blend(layer)
    return still


def unobstructed(path: Path, name: str) -> np.ndarray:
    """Returns where a layer is seen, (H, W) float32 0..1: its alpha less what opaque layers above it cover.

    Layers above with another blend mode than `normal` do not cover it, nor do hidden ones.
    """
    document = _open(path)
    _, layer = _chosen(document, name)
    own = _composited(document, layer)[1]
    covering = {id(leaf) for leaf in _leaves_above(document, layer) if _blend(leaf) == "normal"}
    covered = _composited(document, document, lambda leaf: id(leaf) in covering)[1] if covering else np.float32(0)
    return np.clip(own * (1 - covered), 0, 1).astype(np.float32)[..., 0]


def split(path: Path, name: str, colorspace: str | None = None) -> Split:
    """Returns what surrounds a layer, so that stacking all again gives the document's picture.

    Blend modes are meant in the document's own encoding, as Photoshop blends.

    Raises:
        PlateError: as `read_layer`; or a group around the layer cannot be taken apart, or an adjustment lies above it.
    """
    document = _open(path)
    _, layer = _chosen(document, name)
    for group in _groups_around(layer):
        if not _is_transparent(group):
            raise PlateError(
                f"its group {group.name!r} blends as a whole ({_blend(group)}, {group.opacity / 255:.0%}, or masked): "
                "give the group as the layer, or merge it"
            )
    above = _split_above(document, layer, colorspace)
    others = {id(leaf) for leaf in (layer, *_leaves(layer), *_leaves_above(document, layer))}
    under = {id(leaf) for leaf in _leaves(document) if leaf.is_visible()} - others
    below = None
    if under:
        pixels = _composited(document, document, lambda leaf: id(leaf) in under)
        below = StackStill("", "normal", _still(document, pixels, colorspace))
    return Split(below, _blend(layer), tuple(above))


def _open(path: Path) -> Any:
    try:
        from psd_tools import PSDImage
    except ImportError as error:
        raise PlateError(f"its layers need psd-tools: {INSTALL}") from error
    try:
        with open_regular(path, PIXELS) as file:
            document = PSDImage.open(file)
    except OSError:
        raise
    except Exception as error:  # psd-tools raises many kinds for damaged files, some without a common base
        raise PlateError(f"its PSD data are damaged: {first_line(error)}") from error
    if document.color_mode.name not in _COLORS:
        raise PlateError(f"it is {document.color_mode.name}: convert it to RGB first")
    if document.depth not in (8, 16):
        raise PlateError(f"it has {document.depth} bits a channel, whose layers cannot be read: save the layer as EXR")
    if document.width * document.height > MAX_PIXELS:
        raise PlateError(f"its size is {document.width}x{document.height} pixels: give at most {MAX_PIXELS} pixels")
    return document


def _named(container: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields layers and groups with their paths, the lowest first, a group before what is in it."""
    for layer in container:
        name = f"{prefix}{layer.name}"
        yield name, layer
        if layer.is_group():
            yield from _named(layer, f"{name}/")


def _chosen(document: Any, name: str) -> tuple[str, Any]:
    layers, wanted = list(_named(document)), name.strip().strip("/").lower()
    for fits in (
        lambda full: full == name,
        lambda full: full.lower() == wanted,
        lambda full: full.lower().endswith(f"/{wanted}"),
    ):
        found = [(full, layer) for full, layer in layers if fits(full)]
        if len(found) > 1:
            raise PlateError(f"the layer {name!r} could be any of {_listed(found)}: give its full name, or rename one")
        if found:
            return _checked(*found[0])
    raise PlateError(f"it has no layer {name!r}, only {_listed(layers)}")


def _checked(name: str, layer: Any) -> tuple[str, Any]:
    if layer.clipping:
        raise PlateError(f"its layer {name!r} is clipped to the one below: give that one, or release the clipping")
    if _is_adjustment(layer):
        raise PlateError(f"its layer {name!r} is an adjustment without pixels ({layer.kind}): give another one")
    return name, layer


def _listed(layers: Sequence[tuple[str, Any]]) -> str:
    names = [repr(full) for full, _ in layers[:_MOST_LISTED]]
    return ", ".join(names) + (" and more" if len(layers) > _MOST_LISTED else "")


def _blend(layer: Any) -> str:
    return str(layer.blend_mode.name).lower()


def _is_adjustment(layer: Any) -> bool:
    from psd_tools.api.adjustments import AdjustmentLayer

    return isinstance(layer, AdjustmentLayer)


def _leaves(container: Any) -> Iterator[Any]:
    """Yields the layers that are no groups, the lowest first."""
    if container.kind != "psdimage" and not container.is_group():
        return
    for layer in container:
        if layer.is_group():
            yield from _leaves(layer)
        else:
            yield layer


def _leaves_above(document: Any, layer: Any) -> list[Any]:
    """Returns the shown leaves above a layer, the lowest first; those clipped to the layer are part of it."""
    own = {id(leaf) for leaf in (layer, *_leaves(layer), *(layer.clip_layers or ()))}
    leaves = list(_leaves(document))
    last = max((k for k, leaf in enumerate(leaves) if id(leaf) in own), default=len(leaves))
    return [leaf for leaf in leaves[last + 1 :] if leaf.is_visible()]


def _groups_around(layer: Any) -> Iterator[Any]:
    parent = layer.parent
    while parent is not None and parent.kind != "psdimage":
        yield parent
        parent = parent.parent


def _is_transparent(group: Any) -> bool:
    """Whether a group's layers blend with what is below as they would without the group."""
    plain = group.opacity == 255 and not group.has_mask() and not group.has_effects() and not group.clip_layers
    separate = all(_blend(layer) in ("normal", "pass_through") for _, layer in _named(group))
    return bool(plain and (_blend(group) == "pass_through" or (_blend(group) == "normal" and separate)))


def _split_above(document: Any, layer: Any, colorspace: str | None) -> list[StackStill]:
    above = {id(leaf) for leaf in _leaves_above(document, layer)}
    stills: list[StackStill] = []
    run: list[Any] = []

    def close_run() -> None:
        if run:
            wanted = {id(leaf) for item in run for leaf in (item, *_leaves(item))}
            pixels = _composited(document, document, lambda leaf: id(leaf) in wanted and leaf.is_visible())
            name = run[0].name if len(run) == 1 else ""
            stills.append(StackStill(name, "normal", _still(document, pixels, colorspace)))
            run.clear()

    for item in _pieces(document, above):
        if _is_adjustment(item):
            raise PlateError(
                f"its adjustment {item.name!r} above the layer changes all below: hide it, or merge it into the layers"
            )
        if _blend(item) in ("normal", "pass_through"):
            run.append(item)
        else:
            close_run()
            pixels = _composited(document, item, lambda leaf: leaf.is_visible())
            stills.append(StackStill(item.name, _blend(item), _still(document, pixels, colorspace)))
    close_run()
    return stills


def _pieces(container: Any, above: set[int]) -> Iterator[Any]:
    """Yields layers, and groups that blend as a whole, of which all shown leaves are in `above`, the lowest first."""
    for layer in container:
        if layer.clipping or not layer.is_visible():
            continue
        leaves = [leaf for leaf in _leaves(layer) if leaf.is_visible()] if layer.is_group() else [layer]
        if not any(id(leaf) in above for leaf in leaves):
            continue
        if layer.is_group() and _is_transparent(layer):
            yield from _pieces(layer, above)
        else:
            yield layer


def _composited(document: Any, layer: Any, shown: Callable[[Any], bool] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Returns straight colour (H, W, C) and alpha (H, W, 1), float32, of a layer or of the leaves that are `shown`.

    By default all of a layer's visible leaves are; a layer that is hidden itself is shown.
    """
    from psd_tools.composite import composite

    def accepted(item: Any) -> bool:
        if item is layer:
            return True
        if item.is_group():
            return bool(item.visible)
        if shown is not None:
            # What is clipped to a shown layer is part of it.
            return shown(item) or (item.clipping and bool(item.is_visible()))
        return bool(item.visible)

    whole = layer is document
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            values, _, alpha = composite(
                layer, color=0.0, viewport=document.viewbox, layer_filter=accepted, as_layer=not whole
            )
        except Exception as error:  # as in _open
            raise PlateError(f"its layers cannot be composited: {first_line(error)}") from error
    for warning in caught[:1]:
        warnings.warn(f"psd-tools: {first_line(warning.message)}", LoopcoreWarning, stacklevel=2)
    return np.clip(values, 0, 1).astype(np.float32), np.clip(alpha, 0, 1).astype(np.float32)


def _still(document: Any, pixels: tuple[np.ndarray, np.ndarray], colorspace: str | None) -> Still:
    channels = (*_COLORS[document.color_mode.name], "A")
    values = np.concatenate(pixels, axis=2)
    metadata: dict[str, object] = {}
    icc = document.image_resources.get_data(_ICC_PROFILE)
    profile = None
    if icc and colorspace is None:
        profile, values = with_profile(bytes(icc), values, channels, metadata)
    return Still(values, channels, colorspace or color.SRGB, profile, metadata=metadata)
