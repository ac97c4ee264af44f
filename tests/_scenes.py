# SPDX-License-Identifier: Apache-2.0
"""A small plate of real water with hints for it, and ways to run the command line on them as a user does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from loopcore.color import decode_codes
from loopcore.exr import read_exr, write_exr

PHOTOGRAPH = Path(__file__).resolve().parents[1] / "examples" / "waterfall" / "plate.jpg"
WIDTH, HEIGHT = 160, 90


def codes(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """(height, width, 3) uint8 sRGB: a piece of the example photograph, full of falling water."""
    from PIL import Image

    with Image.open(PHOTOGRAPH) as picture:
        return np.asarray(picture.crop((540, 560, 540 + width, 560 + height)))


def ramp(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """(height, width) float32 alpha: 0.05 at the left to 1 at the right, with a shape in it."""
    x, y = np.meshgrid(np.linspace(0.05, 1, width), np.linspace(0, 6, height))
    return (x * (0.75 + 0.25 * np.cos(y))).clip(0.02, 1).astype(np.float32)


def png(path: Path, channels: str = "RGB", width: int = WIDTH, height: int = HEIGHT) -> Path:
    """Write the plate as 8-bit PNG with these channels: RGB, RGBA, Y or YA."""
    from PIL import Image

    colour = codes(width, height)
    planes = [colour] if channels.startswith("RGB") else [colour[..., 1:2]]
    if channels.endswith("A"):
        planes.append(np.rint(ramp(width, height) * 255).astype(np.uint8)[..., None])
    stored = np.concatenate(planes, axis=2)
    Image.fromarray(stored[..., 0] if channels == "Y" else stored).save(path)
    return path


def linear(channels: str = "RGBA", width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """(height, width, C) float32 premultiplied scene-linear plate, highlights up to 4."""
    light = decode_codes(codes(width, height)) * np.float32(4)
    if not channels.endswith("A"):
        return light[..., : len(channels)]
    alpha = ramp(width, height)[..., None]
    return np.concatenate([light[..., : len(channels) - 1] * alpha, alpha], axis=2)


def exr(
    path: Path,
    pixels: np.ndarray,
    channels: Sequence[str] = "RGBA",
    attributes: dict[str, object] | None = None,
    pixel_aspect: float = 1.0,
) -> Path:
    """Write (H, W, C) pixels as EXR, in their own depth."""
    planes = {name: np.ascontiguousarray(pixels[..., k]) for k, name in enumerate(channels)}
    write_exr(path, planes, attributes=attributes, pixel_aspect=pixel_aspect)
    return path


def hints(path: Path, width: int = WIDTH, height: int = HEIGHT) -> Path:
    """Write hints: water falling down the middle; the left and right fifth and the top and bottom rows are still."""
    across, down = width / 160, height / 90
    document = {
        "loopcore_hints": 1,
        "size": [width, height],
        "strokes": [{"points": [[80 * across, 12 * down], [85 * across, 45 * down], [80 * across, 78 * down]],
                     "speed": 1.5 * down}],
        "mask": {"polygons": [[[x * across, y * down] for x, y in ((34, 8), (126, 8), (118, 82), (42, 82))]],
                 "feather": 5 * down},
    }  # fmt: skip
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def command(*arguments: object) -> list[str]:
    """`loopcore ARGUMENTS` by the Python that runs the tests."""
    return [sys.executable, "-m", "loopcore", *map(str, arguments)]


def run(*arguments: object, env: dict[str, str] | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    options = {"capture_output": True, "text": True, "encoding": "utf-8", "timeout": 120, **options}
    return subprocess.run(command(*arguments), env=environment(env), **options)


def start(*arguments: object, env: dict[str, str] | None = None, **options: Any) -> subprocess.Popen[str]:
    """Start a command and leave it running."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "encoding": "utf-8", **options}
    return subprocess.Popen(command(*arguments), env=environment(env), **options)


def environment(extra: dict[str, str] | None) -> dict[str, str]:
    # Tests may run side by side: none takes all cores, and a bake takes long enough to be caught at it.
    return {**os.environ, "LOOPCORE_THREADS": "1", **(extra or {})}


def wait_for(there: Callable[[], bool], seconds: float = 60, process: subprocess.Popen[str] | None = None) -> None:
    """Return once `there()`; fail when it takes too long, or when the process ends first."""
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end, "it took too long"
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.005)


def ended(pid: int) -> bool:
    """Whether a process has ended; one whose parent does not wait for it is a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def frames(folder: Path, suffix: str = ".exr") -> list[Path]:
    """The frames in a folder, in order."""
    return sorted(path for path in folder.glob(f"*_loop.[0-9]*{suffix}") if not path.name.startswith("."))


def contents(paths: Iterable[Path]) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in paths}


def hidden(folder: Path) -> list[str]:
    """Names of temporary files, which nobody should find."""
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def rewrite(path: Path, change: Callable[[dict[str, np.ndarray]], None]) -> None:
    """Write an EXR frame again with other pixels and all of its attributes but the checksum of the pixels."""
    (part,) = read_exr(path)
    part.attributes.pop("loopcore/pixels_crc32", None)
    planes = {name: values.copy() for name, values in part.channels.items()}
    change(planes)
    write_exr(path, planes, attributes=part.attributes, compression=part.compression, pixel_aspect=part.pixel_aspect)
