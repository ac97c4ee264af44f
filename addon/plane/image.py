# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the image that an object shows through its material, or the reason why there is none.

Searches upstream from the Material Output, through shaders, mixes and node groups. An image connected as color takes
precedence over one connected as alpha or roughness. For a plane that plays a loop or a live preview it is the still. Of
a camera it is the background image.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import bpy

from ..errors import PlaneError
from ..texts import rpt_
from .background import Background, shown_background
from .headers import Layer, exr_layers

# Property on the image of a loop: the still that it was made from (a pointer, which keeps the still in the .blend).
STILL = "loopcore_still"
# Property on such an image if it is a preview.
PREVIEW = "loopcore_preview"
# Property on the group node of a live preview: the name of the image texture that it replaces.
LIVE = "loopcore_live"

_PICTURES = {"rgba", "rgb", "beauty", "default", "main", "master"}


@dataclass(frozen=True)
class PlaneImage:
    """The image of a plane. `path` is None if it exists in the .blend only: see `still`.

    Of a camera it is the background image: `material` is None, `slot` -1, and `node` a `Background`.
    """

    object: bpy.types.Object
    material: bpy.types.Material | None
    slot: int
    node: bpy.types.Node | Background
    group_nodes: tuple[bpy.types.Node, ...]  # the Group nodes around the node, outermost first
    image: bpy.types.Image  # the still, also while a loop plays
    path: Path | None
    playing: bpy.types.Image | None  # the loop that plays, if any

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        # Blender gives a multilayer EXR no size without a window.
        return tuple(self.image.size) if all(self.image.size) else self.layers[0].size

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers of an EXR on disk that have color; none of other files."""
        return exr_layers(self.path) if self.path else ()

    @property
    def layer(self) -> str:
        """The name of the layer to animate: the chosen one, else the main picture; "" if there is no choice."""
        names = [layer.name for layer in self.layers]
        if len(names) < 2:
            return ""
        chosen = self.object.loopcore.layer
        return chosen if chosen in names else min(names, key=_layer_rank)

    @property
    def colorspace_name(self) -> str:
        """Blender's name for the color space of the still."""
        return self.image.colorspace_settings.name

    @property
    def tree(self) -> bpy.types.NodeTree:
        """The node tree that holds the image texture."""
        return self.node.id_data

    @property
    def is_background(self) -> bool:
        """Whether it is the background image of a camera."""
        return self.material is None


def plane_of(obj: bpy.types.Object | None) -> bpy.types.Object | None:
    """Return the plane that `obj` belongs to: its parent if it is a stroke or an anchor, else `obj` itself."""
    if obj is not None and obj.type in {"CURVE", "EMPTY"} and obj.parent is not None:
        return obj.parent
    return obj


def refuse_linked(obj: bpy.types.Object) -> None:
    """Raise PlaneError if an object is linked from another file, and not overridden."""
    if obj.library:
        raise PlaneError(
            rpt_(
                '"{name}" is linked from {library}: make a library override (Object > Library Override > Make) or make '
                "it local (Object > Relations > Make Local) to animate it here"
            ).format(name=obj.name, library=obj.library.filepath)
        )


def find_plane_image(obj: bpy.types.Object | None) -> PlaneImage:
    """Return the image that `obj` shows.

    Raises:
        PlaneError: it shows none that can be animated; the message has the reason and a remedy.
    """
    if obj is None:
        raise PlaneError(rpt_("No active object: select an image plane"))
    if obj.type == "EMPTY" and obj.empty_display_type == "IMAGE":
        text = rpt_('"{name}" is a reference image: convert it (Object > Convert > Mesh Plane)')
        raise PlaneError(text.format(name=obj.name))
    if obj.type == "CAMERA":
        return _in_background(obj)
    if obj.type != "MESH":
        raise PlaneError(rpt_('"{name}" is not a mesh: select an image plane').format(name=obj.name))
    slots = [i for i, slot in enumerate(obj.material_slots) if slot.material]
    if not slots:
        raise PlaneError(rpt_('"{name}" has no material: add one with an Image Texture').format(name=obj.name))
    slots.sort(key=lambda i: i != obj.active_material_index)
    reasons = []
    for index in slots:
        try:
            return image_in_slot(obj, index)
        except PlaneError as reason:
            reasons.append(reason)
    raise reasons[0]


def _in_background(obj):
    found = shown_background(obj)
    if obj.data.library:
        raise PlaneError(rpt_('The data of the camera "{name}" are linked: make them local').format(name=obj.name))
    playing = found.image if found.image.get(STILL) else None
    image = found.image[STILL] if playing else found.image
    return PlaneImage(obj, None, -1, found, (), image, _usable(image), playing)


def image_in_slot(obj: bpy.types.Object, index: int) -> PlaneImage:
    """Return the image that the material in a slot shows.

    Raises:
        PlaneError: as find_plane_image.
    """
    material = obj.material_slots[index].material
    tree = material.node_tree
    if tree is None or not (bpy.app.version >= (5, 0, 0) or material.use_nodes):
        text = rpt_('The material "{material}" does not use nodes: it needs an Image Texture')
        raise PlaneError(text.format(material=material.name))
    engine = bpy.context.scene.render.engine if bpy.context.scene else "CYCLES"
    output = tree.get_output_node("CYCLES" if engine == "CYCLES" else "EEVEE") or tree.get_output_node("ALL")
    if output is None:
        raise PlaneError(rpt_('The material "{material}" has no Material Output').format(material=material.name))
    found = _Walk().start(output.inputs["Surface"])
    if not found:
        text = rpt_('No image is connected to the surface of the material "{material}"')
        raise PlaneError(text.format(material=material.name))
    node, stack = _best(found, tree)
    playing = node.image if node.image.get(STILL) else None
    image = node.image[STILL] if playing else node.image
    if node.projection != "FLAT":
        text = rpt_('The image texture "{node}" has {projection} projection: set it to Flat')
        raise PlaneError(text.format(node=node.name, projection=node.projection.title()))
    return PlaneImage(obj, material, index, node, stack, image, _usable(image), playing)


def _best(found, tree):
    """Choose from [(rank, node, stack)] by the lowest rank, then the active node, then the largest image."""
    filled = [item for item in found if item[1].image is not None]
    if not filled:
        raise PlaneError(rpt_('The image texture "{node}" has no image: open one').format(node=found[0][1].name))
    rank = min(item[0] for item in filled)
    same = [item for item in filled if item[0] == rank]
    active = tree.nodes.active
    same.sort(key=lambda item: (item[1] != active, -item[1].image.size[0] * item[1].image.size[1]))
    return same[0][1], same[0][2]


def _refused(source):
    """Return why an image of this source is refused; None if it is not."""
    if source == "MOVIE":
        return rpt_('"{image}" is a movie, and a loop is made from a still: load one frame as an image')
    if source == "TILED":
        return rpt_('"{image}" is a UDIM tile set, and a loop is made from one image: load one tile as an image')
    if source == "VIEWER":
        return rpt_('"{image}" is a Render Result or Viewer: save it, and use the saved file')
    if source == "SEQUENCE":
        return rpt_('"{image}" is an image sequence: load one frame as a single image')
    return None


def _usable(image):
    """Return the file of an image that can be animated; None if it exists in the .blend only."""
    refused = _refused(image.source)
    if refused:
        raise PlaneError(refused.format(image=image.name))
    if image.source == "GENERATED" or image.is_dirty or image.packed_file:
        path = None
    else:
        path = Path(bpy.path.abspath(image.filepath, library=image.library))
        if not image.filepath or not path.is_file():
            text = rpt_('The file of "{image}" is missing: {path}. Use File > External Data > Find Missing Files')
            raise PlaneError(text.format(image=image.name, path=path))
        path = path.resolve()
    if image.packed_file and not all(image.size):
        text = rpt_('"{image}" is packed, and its pixels cannot be read: unpack it (File > External Data)')
        raise PlaneError(text.format(image=image.name))
    if not all(image.size) and not (path and exr_layers(path)):
        text = rpt_('"{image}" cannot be read. If its file was missing before: Image > Reload')
        raise PlaneError(text.format(image=image.name))
    return path


def _layer_rank(name):
    """Return a sort key: the unnamed layer first, then Combined, then those named as main pictures are."""
    last = name.lower().rpartition(".")[2]
    return 0 if not last else 1 if last == "combined" else 2 if last in _PICTURES else 3


class _Walk:
    """Walks upstream through a node tree and collects image textures as (rank, node, Group nodes around it)."""

    def __init__(self):
        self.found, self.seen = [], set()

    def start(self, socket):
        self._into(socket, (), 0)
        return self.found

    def _into(self, socket, stack, rank):
        for link in socket.links:
            if not link.is_muted and link.is_valid:
                self._at(link.from_node, link.from_socket, stack, rank)

    def _at(self, node, output, stack, rank):
        key = (tuple(n.name for n in stack), node.name, output.identifier, rank)
        if key in self.seen:
            return
        self.seen.add(key)
        if node.type == "GROUP" and node.get(LIVE, "") in node.id_data.nodes:
            node = node.id_data.nodes[node[LIVE]]
        if node.type == "TEX_IMAGE":
            if not node.mute:
                self.found.append((rank, node, stack))
        elif node.type == "GROUP":
            self._into_group(node, output, stack, rank)
        elif node.type == "GROUP_INPUT":
            if stack:
                self._into(_by_identifier(stack[-1].inputs, output), stack[:-1], rank)
        else:
            for socket in node.inputs:
                self._into(socket, stack, rank + (node.type != "REROUTE" and not _is_color(socket)))

    def _into_group(self, node, output, stack, rank):
        if node.node_tree is None:
            return
        ends = [n for n in node.node_tree.nodes if n.type == "GROUP_OUTPUT" and n.is_active_output]
        for end in ends:
            socket = _by_identifier(end.inputs, output)
            if socket is not None:
                self._into(socket, (*stack, node), rank)


def _by_identifier(sockets, wanted):
    return next((s for s in sockets if s.identifier == wanted.identifier), None)


def _is_color(socket):
    """Return whether an input carries the surface's color, and not its alpha, roughness, tint or normal."""
    return socket.type == "SHADER" or (socket.type == "RGBA" and "Tint" not in socket.name)
