# SPDX-License-Identifier: Apache-2.0
"""The layers of a plate move as one: lights add up, data stay in range, ids stay ids, still values keep their bits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import _scenes
import numpy as np
import pytest

from loopcore.baking.bake import bake
from loopcore.baking.recipe import Recipe, read_recipe
from loopcore.errors import LoopcoreError, PlateError
from loopcore.exr import ExrPart, read_exr, write_parts
from loopcore.exr.windows import place
from loopcore.loop import Loop, carrier, packing
from loopcore.motion import MotionField
from loopcore.plate import Plate, read_plate
from loopcore.quality import check

WIDTH, HEIGHT, N = 128, 80, 8
WINDOW = (0, 0, WIDTH - 1, HEIGHT - 1)
INNER = (20, 10, 99, 69)  # the data window of the cryptomatte
LIGHTS = ("key", "fill", "rim")
SETTINGS = [{"cycles": 1, "steady": 0}, {"cycles": 2, "steady": 1.0}, {"cycles": 2, "steady": 0.5, "method": "splat"}]


def stored(prefix: str, pixels: np.ndarray, dtype: type = np.float16, names: str = "RGB") -> dict[str, np.ndarray]:
    return {prefix + name: np.ascontiguousarray(pixels[..., k].astype(dtype)) for k, name in enumerate(names)}


def part(name: str, channels: dict[str, np.ndarray], window: tuple[int, int, int, int] = WINDOW, **more) -> ExrPart:
    attributes = {"name": name, **more.pop("attributes", {})}
    return ExrPart(name, channels, window, WINDOW, 1.0, more.pop("compression", "zip"), attributes, **more)


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered still: hard-edged lights that are 0 in places, depth of random columns, ids in squares."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    random = np.random.default_rng(5)
    texture = _scenes.linear("RGB", WIDTH, HEIGHT)
    shares = [(np.sin(x / 7 + k) * np.cos(y / 9 - k) > 0.2).astype(np.float32) for k in range(3)]
    lights = [(share[..., None] * texture).astype(np.float16).astype(np.float32) for share in shares]
    lights[0][30:34, 60:64] = 40  # a highlight
    depth = np.repeat(random.uniform(2, 90, (1, WIDTH)).astype(np.float32), HEIGHT, axis=0)
    depth[:, 5::11] = np.inf
    depth += np.sin(y / 5)
    depth[30, 61], depth[2, 3] = np.nan, np.nan
    normal = np.stack([np.sin(x / 9 + y), np.cos(y / 9), np.sin(y)], axis=-1)
    ids = (x // 5 + 40 * (y // 5)).astype(np.uint32)
    left, top, right, bottom = INNER
    inner = ids[top : bottom + 1, left : right + 1]
    hashed = (inner * np.uint32(2654435761) & np.uint32(0xBF7FFFFF)).view(np.float32)
    pixels = sum(lights)
    alpha = np.ones((HEIGHT, WIDTH), np.float16)
    path = tmp_path_factory.mktemp("still") / "still.exr"
    write_parts(path, [
        part("beauty", {**stored("", pixels, np.float32), "A": alpha}, attributes={"owner": "somebody"}),
        *(part(f"light_{name}", stored("", lights[k]), compression="zips") for k, name in enumerate(LIGHTS)),
        part("depth", {"Z": depth}, tiles=(32, 16)),
        part("N", stored("N.", normal, names="XYZ"), compression="piz"),
        part("crypto", {"CryptoObject00.R": hashed, "CryptoObject00.G": np.ones_like(hashed), "objectid": inner.copy()},
             INNER, attributes={"cryptomatte/1234567/name": "CryptoObject"}),
    ])  # fmt: skip
    return path


@pytest.fixture(scope="module")
def motion() -> MotionField:
    """Straight down, the same in all columns: what a column shows comes from that column."""
    mask = np.zeros((HEIGHT, WIDTH), np.float32)
    mask[14:66] = np.minimum(1, np.minimum(np.arange(52) + 1, np.arange(52)[::-1] + 1) / 6)[:, None]
    velocity = np.zeros((HEIGHT, WIDTH, 2), np.float32)
    velocity[..., 1] = 1.7
    return MotionField(velocity, mask, np.ones_like(mask))


@pytest.fixture(scope="module")
def plate(still: Path) -> Plate:
    return read_plate(still, layers="all")


@pytest.fixture(scope="module", params=SETTINGS, ids=lambda settings: f"{settings}")
def frames(
    plate: Plate, motion: MotionField, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> list[list[ExrPart]]:
    folder = tmp_path_factory.mktemp("frames")
    numbers = [1001, 1004, 1006]
    done = bake(Loop(plate, motion, frames=N, device="cpu", **request.param), folder, "loop", numbers=numbers)
    assert done.written == numbers
    return [read_exr(folder / f"loop.{number}.exr") for number in numbers]


def bits(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values).view(f"u{values.itemsize}")


def channels(parts: list[ExrPart]) -> dict[str, np.ndarray]:
    return {f"{part.name}.{name}": values for part in parts for name, values in part.channels.items()}


def test_structure_and_still_values_come_back(
    still: Path, plate: Plate, motion: MotionField, frames: list[list[ExrPart]]
) -> None:
    source = read_exr(still)
    for parts in frames:
        for now, before in zip(parts, source, strict=True):
            assert replace(now, channels={}, attributes={}) != now  # they differ in what is compared below
            for field in ("name", "data_window", "display_window", "pixel_aspect", "compression", "tiles"):
                assert getattr(now, field) == getattr(before, field)
            assert all(now.attributes[name] == value for name, value in before.attributes.items())
            assert list(now.channels) == list(before.channels)
            outside = ~place(motion.mask > 0, WINDOW, now.data_window)
            for name, values in now.channels.items():
                assert values.dtype == before.channels[name].dtype
                unlike = bits(values) != bits(before.channels[name])
                assert not unlike[outside].any()
    moved, before = channels(frames[1]), channels(source)
    alike = {name for name, values in moved.items() if (bits(values) == bits(before[name])).all()}
    assert alike <= {"beauty.A", "crypto.CryptoObject00.G"}  # which are 1 everywhere


def test_lights_add_up_to_the_beauty(frames: list[list[ExrPart]]) -> None:
    for parts in frames:
        found = channels(parts)
        for name in "RGB":
            beauty = found[f"beauty.{name}"].astype(np.float64)
            total = sum(found[f"light_{light}.{name}"].astype(np.float64) for light in LIGHTS)
            assert np.abs(total - beauty).max() < 1e-3 * np.ptp(beauty)


def test_lights_have_the_contrast_of_the_beauty(plate: Plate, motion: MotionField) -> None:
    """A light that is all of the beauty comes out as the beauty does, gains, limits and all."""
    assert plate.layers is not None
    parts = list(plate.layers.parts)
    parts[1] = replace(parts[1], channels={c: plate.pixels[..., k].copy() for k, c in enumerate("RGB")})
    whole = replace(plate, layers=replace(plate.layers, parts=tuple(parts)))
    for settings in SETTINGS:
        loop = Loop(whole, motion, frames=N, device="cpu", **settings)
        canvas = loop.canvas()
        loop.render(3, canvas)
        light = loop.carried(3, canvas)[1].channels
        for k, name in enumerate("RGB"):
            np.testing.assert_allclose(light[name], canvas[..., k], rtol=1e-5, atol=1e-5)


def test_packs_and_reused_parts_change_nothing(
    plate: Plate, motion: MotionField, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Layers packed in twos, for each frame again, and put into the parts of another frame."""
    loop = Loop(plate, motion, frames=N, device="cpu")
    canvas = loop.canvas()
    loop.render(3, canvas)
    wanted = channels(loop.carried(3, canvas))
    monkeypatch.setattr(packing, "MOST", 2)
    monkeypatch.setattr(carrier, "KEPT_BYTES", 0)
    other = Loop(plate, motion, frames=N, device="cpu")
    parts = other.carried(5, canvas)
    assert other.carried(3, canvas, parts) is parts
    for name, values in channels(parts).items():
        np.testing.assert_array_equal(bits(values), bits(wanted[name]))


def test_ids_are_whole_and_of_the_plate(still: Path, frames: list[list[ExrPart]]) -> None:
    before = channels(read_exr(still))
    of_id = dict(zip(before["crypto.objectid"].ravel(), bits(before["crypto.CryptoObject00.R"]).ravel(), strict=True))
    of_id[np.uint32(0)] = of_id.get(np.uint32(0), np.uint32(0))  # what lies outside of the data window
    for parts in frames:
        ids, hashed = (channels(parts)[f"crypto.{name}"].ravel() for name in ("objectid", "CryptoObject00.R"))
        assert set(ids) <= set(of_id)
        assert all(of_id[number] == value for number, value in zip(ids, bits(hashed), strict=True))


def test_depth_stays_within_what_is_near(still: Path, motion: MotionField, frames: list[list[ExrPart]]) -> None:
    before = channels(read_exr(still))["depth.Z"]
    low, high = (f(np.where(np.isfinite(before), before, w), axis=0) for f, w in ((np.min, np.inf), (np.max, -np.inf)))
    finite = np.isfinite(low)
    for parts in frames:
        depth = channels(parts)["depth.Z"]
        inside = (motion.mask > 0) & finite & np.isfinite(depth)
        assert (parts is frames[0]) == np.isnan(depth[30, 61])  # which is still in the first frame
        assert (depth[:, finite] >= low[finite])[inside[:, finite]].all()
        assert (depth[:, finite] <= high[finite])[inside[:, finite]].all()
        assert np.isinf(depth[:, ~finite]).all()


def test_named_layers_alone(still: Path) -> None:
    layers = read_plate(still, layers=["LIGHT_KEY", "Z"], data=["light_key"]).layers
    assert layers is not None and [part.name for part in layers.parts] == ["beauty", "light_key", "depth"]
    assert [(layer.title, layer.kind) for layer in layers.layers] == [("light_key", "data"), ("depth", "data")]
    chosen = read_plate(still, layer="light_rim", layers=["beauty"]).layers
    assert chosen is not None and chosen.title == "light_rim" and str(chosen) == "beauty (colour)"
    with pytest.raises(PlateError, match="no layer or channel 'light_back'"):
        read_plate(still, layers=["light_back"])
    with pytest.raises(PlateError, match="no layer or channel 'nothing'"):
        read_plate(still, layers="all", data=["nothing"])


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (("albedo.R", "albedo.G", "albedo.B"), "colour"), (("ViewLayer.DiffDir.R", "ViewLayer.DiffDir.G"), "colour"),
        (("ViewLayer.Depth.Z",), "data"), (("N.R", "N.G", "N.B"), "data"), (("WorldPosition.R",), "data"),
        (("uv.U", "uv.V"), "data"), (("shadow.value",), "data"), (("ViewLayer.IndexOB.X",), "id"),
        (("object_id.Y",), "id"), (("ViewLayer.CryptoMaterial01.R",), "id"), (("matid.R", "matid.G"), "id"),
        (("video.R", "video.G", "video.B"), "colour"), (("candid.R",), "colour"),
    ],
)  # fmt: skip
def test_kinds_by_name(tmp_path: Path, names: tuple[str, ...], kind: str) -> None:
    plane = np.ones((HEIGHT, WIDTH), np.float16)
    write_parts(tmp_path / "still.exr", [part("", {name: plane for name in ("R", "G", "B", *names)})])
    layers = read_plate(tmp_path / "still.exr", layers="all").layers
    assert layers is not None and [layer.kind for layer in layers.layers] == [kind]


@pytest.fixture(scope="module")
def baked(still: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("baked")
    _scenes.hints(folder / "hints.json", WIDTH, HEIGHT)
    done = _scenes.run("animate", still, "-o", folder, "--frames", 3, "--layers", "light_key, light_fill,Z",
                       "--data", "light_fill", "--hints", folder / "hints.json", "--proxy")  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


class TestBake:
    def test_files_have_the_chosen_layers(self, baked: Path) -> None:
        parts = read_exr(baked / "still_loop.1002.exr")
        assert [part.name for part in parts] == ["beauty", "light_key", "light_fill", "depth"]
        assert read_plate(baked / "still_loop.1002.exr").channels == ("R", "G", "B", "A")
        assert len(list((baked / "proxy").iterdir())) == 3

    def test_check_measures_layers(self, baked: Path) -> None:
        rows = {row.name.partition(":")[0]: row for row in check(baked).rows}
        assert rows["layers, static"].value == 0 and rows["layers, closure"].passed and rows["static"].value == 0
        parts = read_exr(baked / "still_loop.1003.exr")
        parts[0].attributes.pop("loopcore/pixels_crc32")
        parts[3].channels["Z"][0, 0] += 1
        kept = (baked / "still_loop.1003.exr").read_bytes()
        try:
            write_parts(baked / "still_loop.1003.exr", parts)
            rows = {row.name.partition(":")[0]: row for row in check(baked).rows}
        finally:
            (baked / "still_loop.1003.exr").write_bytes(kept)
        assert rows["layers, static"].value == 1 and not rows["layers, static"].passed

    def test_damaged_layers_are_found(self, baked: Path, plate: Plate) -> None:
        parts = read_exr(baked / "still_loop.1003.exr")
        parts[3].channels["Z"][0, 0] += 1
        kept = (baked / "still_loop.1003.exr").read_bytes()
        try:
            write_parts(baked / "still_loop.1003.exr", parts)
            rows = {row.name: row for row in check(baked).rows}
        finally:
            (baked / "still_loop.1003.exr").write_bytes(kept)
        assert rows["frames whose pixels are damaged"].value == 1

    def test_the_recipe_knows_layers_where_there_are_any(
        self, baked: Path, still: Path, plate: Plate, motion: MotionField
    ) -> None:
        recipe, document = read_recipe(baked)
        assert recipe.layers and document["layers"] == ["light_key", "light_fill", "Z"]

        def made(**more: object) -> Recipe:
            loop = Loop(read_plate(still, **more), motion, frames=N, device="cpu")
            return Recipe.of(loop, first=1, fps=24, format="exr", depth="float")

        plain, light = made(), made(layers=["light_key"])
        assert "layers" not in plain.to_json() and replace(light, layers="") == plain
        assert len({plain.digest(), light.digest(), made(layers=["light_key"], data=["light_key"]).digest()}) == 3

    @pytest.mark.parametrize(
        ("more", "said"),
        [
            (["--layers", "all", "--depth", "float"], "leave format and depth out"),
            (["--layers", "all", "--format", "png"], "leave format and depth out"),
            (["--layers", "all", "--resolution", "50"], "leave resolution out"),
            (["--data", "N"], "give --layers"),
        ],
    )
    def test_refused(self, still: Path, tmp_path: Path, more: list[str], said: str) -> None:
        done = _scenes.run("animate", still, "-o", tmp_path / "out", *more)
        assert done.returncode == 2 and said in done.stderr and not (tmp_path / "out").exists()

    def test_only_exr_has_layers(self, tmp_path: Path) -> None:
        with pytest.raises(LoopcoreError, match="cannot move together"):
            read_plate(_scenes.png(tmp_path / "still.png"), layers="all")
        plate = Plate(np.ones((4, 4, 3), np.float32), ("R", "G", "B"))
        flat = MotionField(np.ones((4, 4, 2), np.float32), np.ones((4, 4), np.float32), np.ones((4, 4), np.float32))
        with pytest.raises(PlateError, match="no layers"):
            Loop(plate, flat, device="cpu").carried(1, np.ones((4, 4, 4), np.float32))
