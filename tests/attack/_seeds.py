# SPDX-License-Identifier: Apache-2.0
"""The small valid files that hostile inputs are made from."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import TYPE_CHECKING

import _flow_files
import _scenes
import numpy as np

if TYPE_CHECKING:
    from PIL import Image

WIDTH, HEIGHT = 32, 24
ODD = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45], np.float32)  # pixels
SHAPES = {"wide": (2000, 3), "tall": (3, 2000), "line": (9000, 1), "dot": (1, 1)}  # of plates, width and height

# The smallest run of the motion generator: one step on one synthetic scene.
RUN = {
    "data": {"long_side": 64, "side": 64, "flow_side": 64, "held_out": 0.0, "synthetic": 1, "synthetic_share": 1.0},
    "model": {"width": 2, "widest": 4, "halvings": 1, "blocks": 1},
    "loss": {"scales": 0, "moving": 1.0},
    "run": {"steps": 1, "batch": 1, "learning_rate": 0.001, "device": "cpu", "threads": 1, "log": 1, "seed": 1},
}
# Of the fluid network: one step on one picture.
FLUID = {"pictures": "pictures", "exclude": ["none"], "steps": 1, "seed": 1, "threads": 1, "flow": "dis"}


def toml(document: dict[str, object]) -> str:
    """Returns settings as TOML, of which JSON's lists, numbers and texts are a part."""
    lines = [f"{name} = {json.dumps(value)}" for name, value in document.items() if not isinstance(value, dict)]
    for name, value in document.items():
        if isinstance(value, dict):
            lines += [f"[{name}]", *(f"{key} = {json.dumps(inner)}" for key, inner in value.items())]
    return "\n".join(lines) + "\n"


def make_seeds(folder: Path, training: bool = True) -> Path:
    """Writes the valid files into a folder: pictures, EXR, hints, motion, weights, a baked loop, a training run."""
    folder.mkdir(parents=True)
    _pictures(folder)
    _hints(folder)
    field = _flow_files.field(HEIGHT, WIDTH)
    field.save(folder / "motion.exr")
    flo = b"PIEH" + np.array([WIDTH, HEIGHT], "<i4").tobytes() + field.velocity.astype("<f4").tobytes()
    (folder / "motion.flo").write_bytes(flo)
    _run("animate", folder / "plate.png", "--motion", folder / "motion.exr", "--frames", 2, "-o", folder / "loop",
         "--name", "loop")  # fmt: skip
    _weights(folder)
    if training:
        _clips(folder, field.velocity)
        (folder / "run.toml").write_text(toml(RUN), "utf-8")
        _run("train", folder / "run.toml", "-o", folder / "run")
    return folder


def _run(*words: object) -> None:
    done = _scenes.run(*words)
    assert done.returncode == 0, done.stderr


def _pictures(folder: Path) -> None:
    from PIL import Image, ImageCms

    codes = _scenes.codes(WIDTH, HEIGHT)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for name in ("plate.png", "plate.jpg", "plate.tif", "plate.bmp", "plate.webp", "postscript.eps"):
        Image.fromarray(codes).save(folder / name)
    Image.fromarray(np.dstack([codes, codes[..., :1]])).save(folder / "profile.png", icc_profile=profile)
    for name, (width, height) in SHAPES.items():
        Image.fromarray(np.resize(codes, (height, width, 3))).save(folder / f"{name}.png")
    _document(folder / "plate.psd", Image.fromarray(np.dstack([codes, codes[..., :1]])))
    _scenes.exr(folder / "plate.exr", _scenes.linear("RGBA", WIDTH, HEIGHT))
    odd = _scenes.linear("RGBA", WIDTH, HEIGHT)
    odd[2:8, 2:20] = np.resize(ODD, 4)
    odd[9, :18] = np.resize(ODD, (18, 4))
    _scenes.exr(folder / "plate_odd.exr", odd)
    _scenes.exr(folder / "motion_odd.exr", odd[..., :2], ("forward.u", "forward.v"))


def _document(path: Path, picture: Image.Image) -> None:
    """Writes a Photoshop document of a layer, one that is clipped to it, and a group."""
    from psd_tools import PSDImage

    document = PSDImage.new("RGB", picture.size)
    document.create_pixel_layer(picture, name="Water")
    document.create_pixel_layer(picture, name="Light", opacity=90).clipping = True
    document.create_group(name="Front").create_pixel_layer(picture, name="Boat", left=5, top=-3)
    document.save(str(path))


def _hints(folder: Path) -> None:
    """Hints with an outline, with a painted mask, and LabelMe's."""
    from PIL import Image

    drawn = json.loads(_scenes.hints(folder / "hints.json", WIDTH, HEIGHT).read_text("utf-8"))
    drawn["anchors"] = [[3, 4]]
    (folder / "hints.json").write_text(json.dumps(drawn), "utf-8")
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[4:20, 6:26] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    painted = {**drawn, "mask": "mask.png", "feather": 2}
    (folder / "hints_painted.json").write_text(json.dumps(painted), "utf-8")
    shapes = [
        {"label": "motion", "shape_type": "polygon", "points": drawn["mask"]["polygons"][0]},
        {"label": "hint", "shape_type": "line", "points": [[16, 4], [17, 20]]},
    ]
    labelme = {"shapes": shapes, "imageWidth": WIDTH, "imageHeight": HEIGHT}
    (folder / "hints_labelme.json").write_text(json.dumps(labelme), "utf-8")


def _weights(folder: Path) -> None:
    """Weights that are none, and those of the smallest generator."""
    from safetensors.numpy import save_file

    from loopcore.motion.generator import FieldGenerator, GeneratorSettings, save_generator

    save_file({"weight": np.ones((4, 3), np.float32)}, folder / "weights.safetensors", {"network": "unet"})
    settings = GeneratorSettings(width=2, widest=4, halvings=1, blocks=1, side=64)
    save_generator(FieldGenerator(settings).state_dict(), settings, folder / "generator.safetensors", {"step": "1"})


def _clips(folder: Path, velocity: np.ndarray) -> None:
    """A folder of a clip with its motion and a manifest, and one of a labelled picture."""
    import lz4.frame
    from PIL import Image

    clip = folder / "clips" / "fall"
    clip.mkdir(parents=True)
    for number in range(3):
        Image.fromarray(np.roll(_scenes.codes(WIDTH, HEIGHT), number, axis=0)).save(clip / f"{number:03}.png")
    packed = lz4.frame.compress(pickle.dumps(np.moveaxis(velocity, -1, 0)[None].astype(np.float32)))
    (folder / "clips" / "fall_motion.pth").write_bytes(packed)
    (folder / "clips" / "manifest.csv").write_text("clip,kind,split\nfall,fall,val\n", "utf-8")
    pictures = folder / "pictures"
    pictures.mkdir()
    Image.fromarray(_scenes.codes(WIDTH, HEIGHT)).save(pictures / "0.png")
    Image.fromarray(np.eye(HEIGHT, WIDTH, dtype=np.uint8)).save(pictures / "l0.png")
    (pictures / "manifest.csv").write_text("image,label,set,split,licence\n0.png,l0.png,a,train,own\n", "utf-8")
    scores = {"overlap": 0.5, "axis": [1.0, 2.0], "direction": [1.0, 2.0], "scaled_error": 1.0, "scale": 1.0,
              "speed_correlation": 0.5, "sense": 1.0, "psnr": None, "ssim": None}  # fmt: skip
    report = {"clips": [{"clip": "fall", "methods": {"predicted": scores}}]}
    (folder / "report.json").write_text(json.dumps(report), "utf-8")
