# SPDX-License-Identifier: GPL-3.0-or-later
"""The output folder of a plane: its name, whose it is, and the frames that a longer loop left in it.

A folder belongs to one object of one .blend, which `OWNER` in it names; only that object writes there. A saved copy of
the .blend is another file, so that versions do not overwrite each other's frames.

Convention:
    OWNER is JSON: "object" is its name, "blend" the path of the .blend relative to the folder, with "/", so that a
    project can be moved; absolute on another drive. For an unsaved file "blend" is null, and "session" tells it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import uuid
from dataclasses import dataclass
from pathlib import Path

import bpy

from ..errors import Refused
from ..files import write_whole
from ..plane.headers import is_from_loopcore

OWNER = "loopcore_owner.json"
_RECIPE = "recipe.json"
_VERSION = re.compile(r"(?<![A-Za-z])[vV]\d+(?![A-Za-z0-9])")
# Not in the names of files and folders, or with a meaning in the names of sequences.
_UNSAFE = re.compile(r'[\x00-\x1f<>:"/\\|?*#%{}]')
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")

# The unsaved file that is open, and the folders that its objects own: {folder: name}.
_session = uuid.uuid4().hex
_of_unsaved: dict[Path, str] = {}


@dataclass(frozen=True)
class Owner:
    """The object and .blend that a folder belongs to; both None if it has frames without a record."""

    object: str | None
    blend: Path | None
    session: str | None = None

    def __str__(self) -> str:
        if self.object is None:
            return "another program, or an older version of this add-on"
        return f'"{self.object}" in {self.blend.name if self.blend else "an unsaved file"}'


def folder_name(name: str) -> str:
    """Return a name as the name of a folder; different names give different folders."""
    plain = _UNSAFE.sub("_", name).strip(" .")
    if plain == name and not _RESERVED.fullmatch(name):
        return plain
    return f"{plain or 'plate'}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def expanded(folder: str, obj) -> Path | None:
    """Return the absolute folder that a setting names; None if it is empty or needs a saved .blend.

    Raises:
        Refused: it has {version}, and the name of the .blend has none.
    """
    stem = Path(bpy.data.filepath).stem if bpy.data.filepath else ""
    if not folder or (not stem and (folder.startswith("//") or "{blend}" in folder or "{version}" in folder)):
        return None
    values = {"object": folder_name(obj.name), "blend": folder_name(stem)}
    if "{version}" in folder:
        versions = _VERSION.findall(stem)
        if not versions:
            raise Refused(
                f'The folder has {{version}}, but "{stem}" has no version such as v001: use {{blend}} instead'
            )
        values["version"] = versions[-1]
    named = re.sub(r"\{(object|blend|version)\}", lambda found: values[found[1]], folder)
    return Path(bpy.path.abspath(named)).absolute()


def other_owner(folder: Path, obj) -> Owner | None:
    """Return the owner of a folder; None if it is `obj`, or nobody's."""
    owner = _owner_of(folder)
    if owner is None or owner.object != obj.name:
        return owner
    if owner.blend is None:
        mine = not bpy.data.filepath and owner.session == _session
    else:
        mine = bool(bpy.data.filepath) and _same(owner.blend, Path(bpy.data.filepath))
    return None if mine else owner


def claim(folder: Path, obj) -> None:
    """Record that a folder belongs to `obj`, unless it is recorded already.

    Raises:
        Refused: it belongs to another object or file, or cannot be written to.
    """
    owner = other_owner(folder, obj)
    if owner is not None:
        raise Refused(
            f"The folder {shown(folder)} has frames of {owner}: choose another, such as //loops/{{blend}}/{{object}}, "
            "or take it over (Output panel)"
        )
    if not (folder / OWNER).is_file():
        take_over(folder, obj)


def take_over(folder: Path, obj) -> None:
    """Record that a folder belongs to `obj`, whoever owned it.

    Raises:
        Refused: it cannot be written to.
    """
    record = {"loopcore_owner": 1, "object": obj.name, "blend": None}
    if bpy.data.filepath:
        record["blend"] = relative_to(Path(bpy.data.filepath), folder)
    else:
        record["session"] = _session
        _of_unsaved[folder] = obj.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / OWNER, (json.dumps(record, indent=1) + "\n").encode())
    except OSError as error:
        raise Refused(f"Cannot write to the folder '{folder}': {error.strerror or error}") from None


def leftovers(folder: Path) -> list[Path]:
    """Return what an earlier, longer loop left of frames, proxies and passes: what Loopcore wrote, and only that."""
    try:
        recipe = json.loads((folder / _RECIPE).read_bytes())
        name, loop = recipe["name"], recipe["recipe"]
        wanted = range(loop["first"], loop["first"] + loop["frames"])
        suffixes = f".{loop['format']}"
        places = [folder, *(place for name in ("proxy", "passes") if (place := folder / name).is_dir())]
        files = [file for place in places for file in place.iterdir()]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    numbered = re.compile(re.escape(name) + r"\.(\d+)(\.exr|\.png|\.jpg)")
    found = []
    for file in files:
        match = numbered.fullmatch(file.name)
        if match is None or not file.is_file() or file.is_symlink():
            continue
        current = int(match[1]) in wanted and (file.parent != folder or match[2] == suffixes)
        if not current and is_from_loopcore(file):
            found.append(file)
    return sorted(found)


def shown(folder: Path) -> str:
    """Return a folder as text, relative to the .blend if that is shorter."""
    if bpy.data.filepath:
        try:
            relative = bpy.path.relpath(str(folder))
        except ValueError:
            return str(folder)
        if len(relative) < len(str(folder)):
            return relative
    return str(folder)


def relative_to(path: Path, folder: Path) -> str:
    """Return a path relative to a folder, with "/"; absolute on another drive."""
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive
        return path.as_posix()


@bpy.app.handlers.persistent
def _saved(*_arguments) -> None:
    """After the first save of a file: what its objects own belongs to the saved file."""
    if not bpy.data.filepath:
        return
    for folder, name in list(_of_unsaved.items()):
        obj, owner = bpy.data.objects.get(name), _owner_of(folder)
        if obj is not None and owner is not None and owner.session == _session:
            try:
                take_over(folder, obj)
            except Refused as error:
                print(f"loopcore: {error}")
    _of_unsaved.clear()


@bpy.app.handlers.persistent
def _loaded(*_arguments) -> None:
    global _session
    _session = uuid.uuid4().hex
    _of_unsaved.clear()


def register():
    bpy.app.handlers.save_post.append(_saved)
    bpy.app.handlers.load_post.append(_loaded)


def unregister():
    for handlers, handler in ((bpy.app.handlers.save_post, _saved), (bpy.app.handlers.load_post, _loaded)):
        if handler in handlers:
            handlers.remove(handler)


def _owner_of(folder):
    try:
        record = json.loads((folder / OWNER).read_bytes())
        blend = record["blend"]
        path = None if blend is None else Path(os.path.normpath(folder / blend))
        return Owner(str(record["object"]), path, record.get("session"))
    except FileNotFoundError:
        return Owner(None, None) if (folder / _RECIPE).is_file() else None
    except (OSError, ValueError, KeyError, TypeError):
        return Owner(None, None)


def _same(one, other):
    try:
        return one.samefile(other)
    except OSError:
        return os.path.normcase(one) == os.path.normcase(other)
