# SPDX-License-Identifier: Apache-2.0
"""Trains the decoder of the predictor on pictures with a class for each pixel.

The encoder stays as it is, so what it makes of the crops is computed once, kept on disk in half precision, and read in
every epoch: on one processor core that is most of the work saved.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from loopcore.errors import MotionError
from loopcore.motion.networks import CLASSES, FEATURES, STRIDE, FluidNet, read_published_encoder, save_weights
from loopcore.motion.sight import shipped_network
from loopcore.sequence import write_atomically
from loopcore.training.pictures import CROP, Sample, crop_plan, crops, read_manifest, soft_targets

Progress = Callable[[str, int, int], None]

# Pixels of rare classes count for more; static, water, sky, smoke, fire.
_CLASS_WEIGHTS = (1.0, 1.3, 1.0, 1.3, 3.0)
_FEATURE_DROPOUT = 0.1
_ENCODE_BATCH = 8


@dataclass(frozen=True)
class TrainSettings:
    """What decides a training run, together with the pictures."""

    seed: int = 1
    epochs: int = 6
    batch: int = 8
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    dice: float = 0.5  # weight of the overlap loss beside cross-entropy
    average: float = 0.99  # of the weights that are kept, per step


@dataclass(frozen=True)
class Cache:
    """Encoded crops: features finest first, (n, channels, h, w) float16, and labels (n, size, size) uint8."""

    features: tuple[np.ndarray, ...]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


def encode_crops(
    network: FluidNet, samples: list[Sample], folder: Path, seed: int, on_progress: Progress | None = None
) -> Cache:
    """What the encoder makes of the crops, from ``folder`` if a run with the same crops and encoder left it there.

    Raises:
        PlateError: a picture that cannot be read.
        MotionError: no samples.
    """
    if not samples:
        raise MotionError("there is nothing to train on: no picture of the manifest is in the split 'train'")
    plan = crop_plan(samples)
    key = _cache_key(network, plan, seed)
    stamp = folder / "cache.json"
    shapes = [(len(plan), c, CROP // s, CROP // s) for c, s in zip(FEATURES, (4, 8, 16, 32), strict=True)]
    names = [folder / f"features_{shape[2]}.npy" for shape in shapes]
    if not (stamp.is_file() and json.loads(stamp.read_text(encoding="utf-8")).get("key") == key):
        folder.mkdir(parents=True, exist_ok=True)
        stamp.unlink(missing_ok=True)
        _encode(network, plan, seed, [_new(p, s, np.float16) for p, s in zip(names, shapes, strict=True)],
                _new(folder / "labels.npy", (len(plan), CROP, CROP), np.uint8), on_progress)  # fmt: skip
        text = json.dumps({"key": key, "crops": len(plan), "seed": seed})
        write_atomically(stamp, lambda hidden: _write_text(text, hidden))
    return Cache(tuple(np.load(name, mmap_mode="r") for name in names), np.load(folder / "labels.npy", mmap_mode="r"))


def _cache_key(network: FluidNet, plan: list[Sample], seed: int) -> str:
    state = hashlib.sha256(f"{seed} {CROP}".encode())
    for value in network.encoder.state_dict().values():
        state.update(value.to(torch.float16).numpy().tobytes())
    for sample in plan:
        state.update(f"{sample.image.name} {sample.image.stat().st_size} {sample.label.stat().st_size}\n".encode())
    return state.hexdigest()


def _new(path: Path, shape: tuple[int, ...], kind: type) -> np.ndarray:
    return np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=shape)


def _write_text(text: str, path: Path) -> None:
    path.write_text(text, encoding="utf-8")


@torch.no_grad()
def _encode(
    network: FluidNet,
    plan: list[Sample],
    seed: int,
    features: list[np.ndarray],
    labels: np.ndarray,
    on_progress: Progress | None,
) -> None:
    encoder = network.encoder.to(memory_format=torch.channels_last)
    waiting, start = [], 0
    for done, (picture, known) in enumerate(crops(plan, seed), 1):
        labels[done - 1] = known
        waiting.append(torch.from_numpy(picture))
        if len(waiting) == _ENCODE_BATCH or done == len(plan):
            for store, values in zip(features, encoder(torch.stack(waiting)), strict=True):
                store[start:done] = values.to(torch.float16).numpy()
            waiting, start = [], done
            if on_progress:
                on_progress("encode", done, len(plan))


def train_decoder(
    network: FluidNet, cache: Cache, settings: TrainSettings, on_epoch: Callable[[int, float], None] | None = None
) -> list[float]:
    """Trains ``network.decoder`` in place on encoded crops; the mean loss of each epoch.

    Deterministic: the same cache, settings and number of threads give the same weights.
    """
    decoder = network.decoder.train().requires_grad_(True).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(decoder.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    steps = settings.epochs * -(-len(cache) // settings.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, total_steps=steps + 1)
    average = {name: value.clone() for name, value in decoder.state_dict().items()}
    random = torch.Generator().manual_seed(settings.seed)
    losses, taken = [], 0
    for epoch in range(settings.epochs):
        total = 0.0
        for features, target in _batches(cache, settings, epoch, random):
            loss = segmentation_loss(decoder(features), target, settings.dice)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            taken += 1
            _follow(average, decoder.state_dict(), min(settings.average, taken / (taken + 10)))
            total += loss.item() * len(target)
        losses.append(total / len(cache))
        if on_epoch:
            on_epoch(epoch + 1, losses[-1])
    decoder.load_state_dict(average)
    decoder.eval().requires_grad_(False)
    return losses


def _batches(
    cache: Cache, settings: TrainSettings, epoch: int, random: torch.Generator
) -> Iterator[tuple[list[Tensor], Tensor]]:
    order = np.random.default_rng((settings.seed, epoch)).permutation(len(cache))
    for start in range(0, len(order), settings.batch):
        chosen = np.sort(order[start : start + settings.batch])
        features = [torch.from_numpy(np.asarray(store[chosen])).float() for store in cache.features]
        # whole channels are dropped: the one regularisation left where the pictures themselves cannot be changed
        features = [x * _kept(x, random) for x in features]
        target = np.stack([soft_targets(known, len(CLASSES), STRIDE) for known in cache.labels[chosen]])
        yield [x.to(memory_format=torch.channels_last) for x in features], torch.from_numpy(target)


def _kept(x: Tensor, random: torch.Generator) -> Tensor:
    keep = torch.rand(x.shape[:2], generator=random) >= _FEATURE_DROPOUT
    return (keep / (1 - _FEATURE_DROPOUT))[:, :, None, None]


def _follow(average: dict[str, Tensor], now: dict[str, Tensor], share: float) -> None:
    for name, value in average.items():
        value.lerp_(now[name], 1 - share)


def segmentation_loss(scores: Tensor, target: Tensor, dice: float) -> Tensor:
    """Cross-entropy against the shares of the classes, plus ``dice`` times one minus their soft overlap.

    scores: (N, classes, H, W); target: the same, shares that sum to what is known of each pixel.

    Source of the overlap: Milletari, Navab, Ahmadi, "V-Net" (3DV 2016), section 3.
    """
    weights = torch.tensor(_CLASS_WEIGHTS)[:, None, None]
    entropy = -(weights * target * F.log_softmax(scores, dim=1)).sum() / (weights * target).sum().clamp(min=1)
    shares = scores.softmax(dim=1) * target.sum(dim=1, keepdim=True)
    common = (shares * target).sum(dim=(0, 2, 3))
    size = (shares * shares + target * target).sum(dim=(0, 2, 3))
    there = target.sum(dim=(0, 2, 3)) > 0
    overlap = 2 * common[there] / size[there].clamp(min=1e-6)
    return entropy + dice * (1 - overlap.mean())


def train(
    folder: str | Path,
    output: str | Path,
    settings: TrainSettings,
    *,
    cache: Path,
    encoder: Path | None = None,
    on_progress: Progress | None = None,
) -> list[float]:
    """Trains on the split ``train`` of a folder of pictures and writes the weights; the mean loss of each epoch.

    cache: folder for the encoded crops, some 0.8 MB each. encoder: EfficientNet-Lite0's published weights; without
    it the encoder is that of the shipped weights.

    Raises:
        PlateError, MotionError: pictures or weights that cannot be read.
    """
    started = time.monotonic()
    samples = [sample for sample in read_manifest(folder) if sample.split == "train"]
    network = new_network(settings.seed, encoder)
    crops_made = encode_crops(network, samples, Path(cache), settings.seed, on_progress)

    def told(epoch: int, loss: float) -> None:
        if on_progress:
            on_progress(f"loss {loss:.4f}", epoch, settings.epochs)

    losses = train_decoder(network, crops_made, settings, told)
    notes = {name: str(value) for name, value in asdict(settings).items()}
    notes |= {"pictures": str(len(samples)), "crops": str(len(crops_made)), "loss": f"{losses[-1]:.4f}"}
    save_weights(network, output, notes | {"seconds": f"{time.monotonic() - started:.0f}"})
    return losses


def new_network(seed: int, encoder: Path | None = None) -> FluidNet:
    """A decoder to be trained, the same for the same seed, on an encoder that is ready."""
    state = shipped_network().encoder.state_dict() if encoder is None else read_published_encoder(encoder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = FluidNet()
    # in the precision it is shipped in, so that the decoder learns from the features it will get
    network.encoder.load_state_dict({name: value.half().float() for name, value in state.items()})
    return network.eval().requires_grad_(False)
