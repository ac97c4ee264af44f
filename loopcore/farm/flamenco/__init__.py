# SPDX-License-Identifier: Apache-2.0
"""The job type for Flamenco, Blender Studio's render farm: a script that its Manager runs."""

from importlib.resources import files
from pathlib import Path

from loopcore.files.atomic import make_folder, write_bytes_atomically

SCRIPT = "loopcore_animate.js"


def write_job_type(folder: Path) -> Path:
    """Writes the script into a folder, and returns its path.

    Args:
        folder: `scripts`, beside the executable of the Manager; made where it is missing.

    Raises:
        SequenceError: the file cannot be written.
    """
    make_folder(folder)
    write_bytes_atomically(folder / SCRIPT, (files(__name__) / SCRIPT).read_bytes())
    return folder / SCRIPT
