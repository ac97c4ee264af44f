# SPDX-License-Identifier: Apache-2.0
"""Contrast keeping: a loop's detail neither fades mid-way nor brightens it.

Measured with Gaussian bands, which know nothing of how contrast is kept.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from _textures import RGB, Record, motion, noise, plate
from scipy.ndimage import gaussian_filter

from loopcore.loop import Loop
from loopcore.loop.loop import METHODS
from loopcore.motion import MotionField, read_mask
from loopcore.plate import Plate, read_plate
from loopcore.transport import integrate, warp

both_methods = pytest.mark.parametrize("method", METHODS)

LUMA = np.array([0.2126, 0.7152, 0.0722])


def bands(pixels: np.ndarray) -> list[np.ndarray]:
    """Differences of Gaussians of the square root of luminance, as even to the eye as a display shows it."""
    tone = np.sqrt(np.maximum(pixels @ LUMA, 0))
    blurred = [tone if sigma == 0 else gaussian_filter(tone, sigma, mode="nearest") for sigma in (0, 1, 2, 4, 8)]
    return [fine - coarse for fine, coarse in zip(blurred, blurred[1:], strict=False)]


def undistorted(displacement: np.ndarray) -> np.ndarray:
    """Weight of a copy: how far the area that a pixel covers in the plate is from one pixel."""
    (xy, xx), (yy, yx) = (np.gradient(displacement[..., k]) for k in (0, 1))
    area = np.abs((1 + xx) * (1 + yy) - xy * yx)
    return np.maximum(np.minimum(area, 1 / np.maximum(area, 1)), 1e-4)


def breathing(loop: Loop, times: tuple[float, ...]) -> tuple[np.ndarray, float]:
    """Spread over time, per band, of a frame's detail over what its two copies carry; and of brightness."""
    velocity, solid, n = loop.motion.effective, loop.motion.mask >= 0.999, loop.frames
    ratios, lights = [], []
    for t in times:
        shifts = integrate(velocity, -t), integrate(velocity, n - t)
        past, future = (bands(warp(loop.plate.pixels, shift)) for shift in shifts)
        weights = (1 - t / n) * undistorted(shifts[0]), t / n * undistorted(shifts[1])
        share = weights[0] / (weights[0] + weights[1])
        frame = loop.frame(t)
        carried = [np.mean((share * a**2 + (1 - share) * b**2)[solid]) for a, b in zip(past, future, strict=True)]
        ratios.append([np.sqrt(np.mean(has[solid] ** 2) / c) for has, c in zip(bands(frame), carried, strict=True)])
        lights.append((frame @ LUMA)[solid].mean())
    return np.ptp(ratios, axis=0), float(np.ptp(lights) / np.mean(lights))


def assert_it_does_not_breathe(
    still: Plate, field: MotionField, method: str, times: tuple[float, ...], record: Record
) -> None:
    spread, light = breathing(Loop(still, field, frames=30, method=method, cycles=1, steady=0), times)
    without, _ = breathing(Loop(still, field, frames=30, method=method, contrast=0, cycles=1, steady=0), (0, 15))
    record("spread_per_band", spread.round(4).tolist())
    record("spread_without", without.round(4).tolist())
    record("brightness", light)
    print(f"{method}: breathing {spread.round(3)}, without contrast {without.round(3)}, brightness {light:.4f}")
    assert (spread <= MAX[method]).all()
    assert without.min() >= 0.1 and (without > 2 * spread).all()
    assert light < 0.02


# Splatting deposits bilinearly, which takes some of the finest detail between whole pixels.
MAX = {"warp": (0.05, 0.05, 0.05, 0.06), "splat": (0.08, 0.08, 0.08, 0.06)}


@both_methods
@pytest.mark.parametrize("name", ["uniform", "vortex", "wave"])
@pytest.mark.parametrize("masked", [False, True])
def test_textures_do_not_breathe(method: str, name: str, masked: bool, record_property: Record) -> None:
    y, x = np.mgrid[:192, :256].astype(np.float64)
    dx, dy = x - 128, y - 96
    swirl = 0.03 * np.exp(-(dx**2 + dy**2) / (2 * 50**2))
    velocity = {
        "uniform": (1.1 + 0 * x, 0.3 + 0 * x),
        "vortex": (-swirl * dy, swirl * dx),
        "wave": (1 + 0.6 * np.sin(y / 25), 0.5 * np.cos(x / 30)),
    }[name]
    mask = np.clip((85 - np.hypot(dx, dy)) / 6, 0, 1) if masked else np.ones_like(x)
    field = MotionField(np.stack(velocity, -1).astype(np.float32), mask.astype(np.float32), np.ones_like(mask))
    times = (0, 3, 7.5, 15, 19, 28)
    assert_it_does_not_breathe(plate(192, 256, seed=3), field, method, times, record_property)


@pytest.mark.parametrize("steady", [0.0, 0.5])
@pytest.mark.parametrize("cycles", [2, 3])
def test_several_cycles_keep_the_plates_detail(cycles: int, steady: float, record_property: Record) -> None:
    """Of each band, over the plate's own: copies are fetched between pixels, which takes some of the finest."""
    still, field = plate(192, 256, seed=3), motion(192, 256, 1.2)
    loop = Loop(still, field, frames=30, cycles=cycles, steady=steady)
    inside = field.mask >= 0.999
    own = [band[inside].std() for band in bands(still.pixels)]
    for t in (3, 7.5, 11, 15, 19, 28):
        kept = [band[inside].std() / size for band, size in zip(bands(loop.frame(t)), own, strict=True)]
        record_property(f"frame_{t}", np.round(kept, 3).tolist())
        print(cycles, steady, t, np.round(kept, 3))
        assert 0.8 < min(kept) and max(kept) < 1.2


@both_methods
def test_keeping_contrast_does_not_brighten(method: str, record_property: Record) -> None:
    """Of a texture with strong highlights, where detail given back to the tone would be light given to the frame."""
    texture = np.exp(1.2 * noise(160, 200, 7, 0.7))[..., None] * (0.3, 0.5, 0.6)
    still, field = Plate(texture.astype(np.float32), RGB), motion(160, 200, 1.5)
    plain, kept = (Loop(still, field, frames=20, method=method, contrast=c) for c in (0, 1))
    inside = field.mask >= 0.999
    worst = 0.0
    for t in (2, 6, 10, 15):
        with_contrast, without = ((loop.frame(t) @ LUMA)[inside] for loop in (kept, plain))
        assert with_contrast.std() > 1.1 * without.std() or t == 2
        worst = max(worst, abs(float(with_contrast.mean() / without.mean()) - 1))
    record_property("brightness", worst)
    print(f"{method}: keeping contrast changes the brightness by {worst:.4f}")
    assert worst <= 0.01


def halved(picture: np.ndarray) -> np.ndarray:
    height, width = (n // 2 * 2 for n in picture.shape[:2])
    return picture[:height, :width].reshape(height // 2, 2, width // 2, 2, -1).mean((1, 3))


@both_methods
@pytest.mark.parametrize("name", ["0000008", "0000023", "0000658", "0002268", "IMG_5866", "IMG_6011"])
def test_photographs_do_not_breathe(method: str, name: str, corpus: Path, record_property: Record) -> None:
    folder = corpus / "stills" / "stylecinegan"
    if not (folder / f"{name}_mask.png").is_file():
        pytest.skip(f"no {name}_mask.png in {folder}")
    photograph = read_plate(folder / f"{name}.png")
    painted = halved(read_mask(folder / f"{name}_mask.png", photograph.height, photograph.width))[..., 0]
    mask = np.clip(2 * gaussian_filter(painted, 3) - 1, 0, 1).astype(np.float32)
    y, x = np.mgrid[: mask.shape[0], : mask.shape[1]]
    velocity = np.stack([1 + 0.3 * np.sin(y / 40), 0.2 * np.cos(x / 30)], -1).astype(np.float32)
    field = MotionField(velocity, mask, np.ones_like(mask))
    still = Plate(halved(photograph.pixels).astype(np.float32), photograph.channels)
    assert_it_does_not_breathe(still, field, method, (0, 3, 7.5, 15), record_property)
