# SPDX-License-Identifier: Apache-2.0
"""Motion from the picture alone, 3840 x 2160, scene-linear RGB float32, against reading the plate from a PNG."""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from _timing import medians, report
from PIL import Image

from loopcore import predict_motion, read_plate
from loopcore.motion.estimate import shipped_network
from loopcore.parallel import thread_count
from loopcore.plate import Plate

PHOTOGRAPH = Path(__file__).resolve().parents[1] / "examples" / "waterfall" / "plate.jpg"


def main() -> None:
    torch.set_num_threads(thread_count())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plate.png"
        with Image.open(PHOTOGRAPH) as picture:
            picture.convert("RGB").resize((3840, 2160)).save(path, compress_level=1)
        stored = read_plate(path)
        plate = Plate(np.ascontiguousarray(stored.pixels), stored.channels, stored.colorspace)
        shipped_network()
        before = _peak()
        jobs = {"loopcore predict_motion": lambda: predict_motion(plate), "read_plate, PNG": lambda: read_plate(path)}
        report("predict 3840x2160 RGB float32", medians(jobs, rounds=3), "loopcore predict_motion")
    print(f"  memory at most {_peak():.2f} GiB, {before:.2f} of it with the plate read and the network loaded")


def _peak() -> float:
    """GiB; not a number on Windows, which does not tell."""
    try:
        import resource
    except ImportError:
        return float("nan")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


if __name__ == "__main__":
    main()
