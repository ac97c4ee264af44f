# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of a training run: tensors as safetensors, numbers as JSON, written atomically.

``state.json`` names the file of tensors and is written last, so a run killed while saving resumes from the previous
checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from loopcore.errors import MotionError
from loopcore.files.atomic import write_atomically, write_text_atomically
from loopcore.files.regular import TEXT, WEIGHTS, check_regular, read_regular

STATE = "state.json"


def save_checkpoint(folder: Path, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Writes a checkpoint and deletes the previous one.

    Args:
        folder: of the run.
        step: number of the checkpoint.
        tensors: by name.
        state: JSON values.

    Raises:
        SequenceError: the disk is full, or the folder cannot be written.
    """
    from safetensors.torch import save_file

    name = f"checkpoint_{step:07}.safetensors"
    whole = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}

    def write(hidden: Path) -> None:
        save_file(whole, hidden)
        hidden.chmod(0o644)  # safetensors creates files readable only by their owner

    write_atomically(folder / name, write)
    write_text_atomically(folder / STATE, json.dumps({**state, "step": step, "tensors": name}, indent=1))
    for old in folder.glob("checkpoint_*.safetensors"):
        if old.name != name:
            old.unlink(missing_ok=True)


def load_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Returns the tensors and the state of the last checkpoint; None without one.

    Raises:
        MotionError: the checkpoint is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / STATE
    if not path.is_file():
        return None
    try:
        state = json.loads(read_regular(path, TEXT))
        check_regular(tensors := folder / state["tensors"], WEIGHTS)
        return load_file(tensors), state
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise MotionError(
            f"the checkpoint in {folder} cannot be read ({error}): delete {STATE} to start again"
        ) from None


def optimiser_tensors(optimiser: torch.optim.Optimizer, name: str) -> dict[str, Tensor]:
    """Returns the optimiser's state as named tensors."""
    memory = optimiser.state_dict()["state"]
    return {f"{name}.{i}.{key}": value for i, values in memory.items() for key, value in values.items()}


def restore_optimiser(optimiser: torch.optim.Optimizer, name: str, tensors: Mapping[str, Tensor]) -> None:
    """Restores what :func:`optimiser_tensors` returned."""
    memory: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        owner, *rest = key.split(".")
        if owner == name:
            memory.setdefault(int(rest[0]), {})[rest[1]] = value
    optimiser.load_state_dict({"state": memory, "param_groups": optimiser.state_dict()["param_groups"]})
