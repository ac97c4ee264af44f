# SPDX-License-Identifier: GPL-3.0-or-later
"""The background images of a camera: each with the interface of an image texture, and where it is seen.

A background image is shown in the viewport, through the camera, and not in renders.
"""

from __future__ import annotations

from collections.abc import Iterator

import bpy
import numpy as np

from ..errors import PlaneError
from ..texts import rpt_


class Background:
    """A background image, as an image texture: its image, its frame settings and its custom properties.

    The properties are stored on the camera's data, as background images have none of their own.
    """

    def __init__(self, camera: bpy.types.Camera, index: int):
        self.id_data, self.index = camera, index

    @property
    def _shown(self):
        return self.id_data.background_images[self.index]

    @property
    def image(self) -> bpy.types.Image | None:
        """The image."""
        return self._shown.image

    @image.setter
    def image(self, image):
        self._shown.image = image

    @property
    def image_user(self) -> bpy.types.ImageUser:
        """The frame settings."""
        return self._shown.image_user

    def path_from_id(self) -> str:
        """Return the path from the camera's data."""
        return f"background_images[{self.index}]"

    def _key(self, name):
        return f"{name}_{self.index}"

    def __contains__(self, name):
        return self._key(name) in self.id_data

    def __getitem__(self, name):
        return self.id_data[self._key(name)]

    def __setitem__(self, name, value):
        self.id_data[self._key(name)] = value

    def __delitem__(self, name):
        del self.id_data[self._key(name)]

    def get(self, name, default=None):
        """Return a custom property."""
        return self.id_data.get(self._key(name), default)

    def __eq__(self, other):
        return isinstance(other, Background) and (self.id_data, self.index) == (other.id_data, other.index)

    def __hash__(self):
        return hash((self.id_data, self.index))


def backgrounds(obj: bpy.types.Object, images: set | None = None) -> Iterator[Background]:
    """Yield the background images of a camera that have an image, by default any; nothing for other objects."""
    if obj.type == "CAMERA":
        yield from _of_data(obj.data, images)


def cameras_with(images: set) -> list[bpy.types.Object]:
    """Return the cameras with one of `images` as a background image, by name."""
    data = {camera for camera in bpy.data.cameras if any(_of_data(camera, images))}
    users = bpy.data.user_map(subset=data, value_types={"OBJECT"}) if data else {}
    return sorted({obj for found in users.values() for obj in found}, key=lambda obj: obj.name)


def shown_background(obj: bpy.types.Object) -> Background:
    """Return the first background image of a camera that is shown.

    Raises:
        PlaneError: there is none.
    """
    if obj.data.show_background_images:
        for found in backgrounds(obj):
            if obj.data.background_images[found.index].show_background_image:
                return found
    raise PlaneError(
        rpt_('"{name}" is not a mesh, and shows no background image: select an image plane, or add one').format(
            name=obj.name
        )
    )


def refuse_moved(obj: bpy.types.Object) -> None:
    """Raise PlaneError if the background image of a camera is not where the camera's frame is."""
    shown = obj.data.background_images[shown_background(obj).index]
    moved = any(shown.offset) or shown.rotation or shown.scale != 1 or shown.use_flip_x or shown.use_flip_y
    text = ""
    if moved:
        text = rpt_('On the background image of "{name}" nothing can be drawn: it is moved, turned, scaled or flipped')
    elif obj.data.type == "PANO":
        text = rpt_('On the background image of "{name}" nothing can be drawn: the camera is panoramic')
    if text:
        raise PlaneError(text.format(name=obj.name))


def frame_of(obj: bpy.types.Object, size: tuple[int, int]) -> np.ndarray:
    """Return the corners of a camera's background image in the camera's space: (4, 3), upper left first, clockwise.

    They are at distance 1, or farther if the camera does not show that. By the frame method the image fills the
    camera's frame, fits in it, or covers it.
    """
    scene, shown = bpy.context.scene, obj.data.background_images[shown_background(obj).index]
    right_top, right_bottom, left_bottom, left_top = (np.array(c) for c in obj.data.view_frame(scene=scene))
    corners = np.array([left_top, right_top, right_bottom, left_bottom])
    away = max(1.0, 2 * obj.data.clip_start)
    if obj.data.type == "PERSP":
        corners *= away / -corners[:, 2:]
    corners[:, 2] = -away
    if shown.frame_method != "STRETCH":
        middle = corners.mean(axis=0)
        across, down = np.abs(corners[0] - corners[2])[:2]
        render = scene.render
        shape = size[0] / size[1] * render.pixel_aspect_x / render.pixel_aspect_y
        wider = shape / (across / down)  # than the frame
        fits = (shown.frame_method == "FIT") == (wider > 1)
        corners = middle + (corners - middle) * ((1, 1 / wider, 1) if fits else (wider, 1, 1))
    return corners


def _of_data(camera, images):
    for index, shown in enumerate(camera.background_images):
        if shown.source == "IMAGE" and shown.image and (images is None or shown.image in images):
            yield Background(camera, index)
