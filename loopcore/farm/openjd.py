# SPDX-License-Identifier: Apache-2.0
"""A job as an Open Job Description bundle, which Deadline Cloud submits and the `openjd` command runs.

Source: Open Job Description, Template Schemas 2023-09, with the extension TASK_CHUNKING (RFC 0001); job bundles as the
Deadline Cloud documentation describes them. The files are JSON, which is YAML too.

The template holds no value that comes from a file name: these are job parameters, which a command receives as whole
arguments, without a shell. Relative paths are made absolute, so that path mapping rules apply to them.
"""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loopcore.baking.plan import checked_numbers
from loopcore.errors import SequenceError
from loopcore.farm import daemon_client, messages
from loopcore.files.atomic import make_folder, write_text_atomically
from loopcore.files.overwrite import refuse_overwriting
from loopcore.files.ranges import format_range
from loopcore.files.regular import existing_file
from loopcore.job import Job

# Time after SIGTERM to finish and rename the frame being written.
NOTIFY_SECONDS = 120
# Limits of the schema, in characters.
_MAX_VALUE, _MAX_JOB_NAME = 1024, 128
_PREVIEWS = (".mp4", "_sheet.png")


@dataclass(frozen=True)
class Parameter:
    """A job parameter and its value.

    Attributes:
        name: in the template.
        kind: PATH, STRING or INT.
        value: of this job.
        description: for the submitter's window.
        facts: further entries of the definition.
    """

    name: str
    kind: str
    value: str | int
    description: str
    facts: dict[str, object]

    @classmethod
    def path(cls, name: str, path: Path, description: str, flow: str = "IN", kind: str = "FILE") -> Parameter:
        """Returns the parameter of a path, made absolute.

        Args:
            name: in the template.
            path: of this job.
            description: for the submitter's window.
            flow: IN, OUT or INOUT.
            kind: FILE or DIRECTORY.
        """
        return cls(name, "PATH", os.path.abspath(path), description, {"objectType": kind, "dataFlow": flow})

    def definition(self) -> dict[str, object]:
        """Returns the definition in the template."""
        return {"name": self.name, "type": self.kind, "description": self.description, **self.facts}


def write_bundle(job: Job, folder: Path, chunk: int, target_seconds: int = 0, command: str = "loopcore") -> list[Path]:
    """Writes a job bundle.

    Args:
        job: the job; its previews are made by a step of their own.
        folder: of the bundle.
        chunk: frames of a task.
        target_seconds: how long a task should take; a scheduler may change the number of frames for it. 0: it may not.
        command: the executable on the workers.

    Returns:
        The files written: `template.yaml`; `parameter_values.yaml` for Deadline Cloud; `openjd_parameters.yaml`, the
        same values for `openjd run -p`; and `asset_references.yaml` if the job reads files that are not parameters.

    Raises:
        LoopcoreError: the job reads a file that does not exist, writes frames outside the loop, or has a value that a
            bundle cannot hold.
    """
    if chunk < 1 or target_seconds < 0:
        raise SequenceError(f"chunk {chunk} and target-seconds {target_seconds}: give 1 or more, and 0 or more")
    job.check()
    for path in job.source.files():
        existing_file(path)
    parameters = [*_paths(job), *_settings(job, chunk, target_seconds, command)]
    for parameter in parameters:
        _check_value(parameter)
    files = _documents(job, parameters)
    refuse_overwriting(job.source.files(), [folder / name for name in files])
    make_folder(folder)
    for name, document in files.items():
        write_text_atomically(folder / name, json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    return [folder / name for name in files]


def _documents(job: Job, parameters: list[Parameter]) -> dict[str, object]:
    """Returns the files of a bundle by name."""
    files: dict[str, object] = {
        "template.yaml": template(job, parameters),
        "parameter_values.yaml": {
            "parameterValues": [{"name": parameter.name, "value": parameter.value} for parameter in parameters]
        },
        "openjd_parameters.yaml": {parameter.name: str(parameter.value) for parameter in parameters},
    }
    named = {parameter.value for parameter in parameters}
    others = [path for path in map(os.path.abspath, job.source.files()) if path not in named]
    if others:
        files["asset_references.yaml"] = {
            "assetReferences": {"inputs": {"filenames": others, "directories": []}, "outputs": {"directories": []}}
        }
    return files


def _paths(job: Job) -> Iterator[Parameter]:
    source = job.source
    yield Parameter.path("Plate", source.plate, "The still.")
    for name, path, description in (
        ("Hints", source.hints, "Strokes, anchors and mask."),
        ("Mask", source.mask, "A picture that is white where things may move."),
        ("Weights", source.weights, "The network that predicts the motion."),
    ):
        if path is not None:
            yield Parameter.path(name, path, description)
    if source.motion is None:
        # Not motion.exr: the frames' tasks write that one, scaled by the speed.
        yield Parameter.path("Motion", job.folder / "motion_predicted.exr", "The motion that Predict writes.", "OUT")
    else:
        yield Parameter.path("Motion", source.motion, "Motion field or flow map.")
    yield Parameter.path("Output", job.folder, "The folder for the frames.", "INOUT", "DIRECTORY")


def _settings(job: Job, chunk: int, target_seconds: int, command: str) -> Iterator[Parameter]:
    numbers = checked_numbers(job.numbers, job.first, job.frames)
    yield Parameter("JobName", "STRING", f"Loopcore {job.stem}"[:_MAX_JOB_NAME], "The job's name.", {})
    yield Parameter("Name", "STRING", job.stem, "Start of the frames' names.", {})
    # A step is written 1-9:2 there.
    yield Parameter("Range", "STRING", format_range(numbers).replace("x", ":"), "The frames to make.", {})
    yield Parameter("ChunkSize", "INT", chunk, "Frames of a task.", {"minValue": 1})
    yield Parameter("TargetSeconds", "INT", target_seconds, "How long a task should take; 0: ChunkSize frames.",
        {"minValue": 0})  # fmt: skip
    yield Parameter("Loopcore", "STRING", command, "The executable on the workers.", {})
    for name, value, description in (
        ("Layer", job.source.layer, "Layer, part or view of a multi-layer EXR."),
        ("ColorSpace", job.source.colorspace, "Colour space of the plate."),
        ("Convention", job.source.convention, "The convention of the motion."),
    ):
        if value is not None:
            yield Parameter(name, "STRING", value, description, {})


def _check_value(parameter: Parameter) -> None:
    """Refuses a value that the schema or YAML cannot hold."""
    text = str(parameter.value)
    if len(text) > _MAX_VALUE:
        raise SequenceError(f"{parameter.name} has {len(text)} characters: Open Job Description allows {_MAX_VALUE}")
    # JSON escapes these or not, and YAML reads them otherwise: line ends, control characters, lone surrogates.
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in "\ufeff\ufffe\uffff" for c in text):
        raise SequenceError(f"{parameter.name} {text!r} contains a character that a job bundle cannot hold: rename it")


def template(job: Job, parameters: list[Parameter]) -> dict[str, Any]:
    """Returns the job template.

    Check and Preview need the whole loop, and are left out of a job with a range.

    Args:
        job: the job.
        parameters: its parameters.
    """
    given = {parameter.name for parameter in parameters}
    predicted = job.source.motion is None
    steps = [_predict_step(job, given)] if predicted else []
    steps.append(_frames_step(job, given, predicted))
    if job.numbers is None:
        steps += [_preview_step(job), _check_step(job)]
    return {
        "specificationVersion": "jobtemplate-2023-09",
        "extensions": ["TASK_CHUNKING"],
        "name": "{{Param.JobName}}",
        "description": "Made by loopcore farm openjd.",
        "parameterDefinitions": [parameter.definition() for parameter in parameters],
        "jobEnvironments": [_environment()],
        "steps": steps,
    }


def _environment() -> dict[str, Any]:
    """Returns the environment of all tasks: those of a session share a daemon, which the first one starts."""
    stop = {"command": "{{Param.Loopcore}}", "args": ["daemon", "stop"]}
    return {
        "name": "Loopcore",
        "variables": {
            messages.VARIABLE: messages.VALUE,
            daemon_client.VARIABLE: "{{Session.WorkingDirectory}}/loopcore",
        },
        "script": {"actions": {"onExit": stop}},
    }


def _step(name: str, arguments: list[str], after: str | None = None, **facts: object) -> dict[str, Any]:
    """Returns a step of one command."""
    run = {
        "command": "{{Param.Loopcore}}",
        "args": arguments,
        "cancelation": {"mode": "NOTIFY_THEN_TERMINATE", "notifyPeriodInSeconds": NOTIFY_SECONDS},
    }
    depends = {} if after is None else {"dependencies": [{"dependsOn": after}]}
    return {"name": name, **depends, **facts, "script": {"actions": {"onRun": run}}}


def _options(given: set[str], *names: str) -> list[str]:
    """Returns the options of these parameters, as far as the job has them."""
    return [f"--{name.lower()}={{{{Param.{name}}}}}" for name in names if name in given]


def _predict_step(job: Job, given: set[str]) -> dict[str, Any]:
    options = _options(given, "Layer", "ColorSpace", "Hints", "Mask", "Weights")
    options.append(f"--resolution={job.source.resolution}")
    return _step("Predict", ["predict", "{{Param.Plate}}", "-o", "{{Param.Motion}}", *options])


def _frames_step(job: Job, given: set[str], predicted: bool) -> dict[str, Any]:
    # The predicted motion has the mask already.
    options = _options(given, "Layer", "ColorSpace", "Motion", *(() if predicted else ("Mask", "Convention")))
    if job.source.rescale:
        options.append("--rescale")
    options += ["--name={{Param.Name}}", *loop_arguments(job), "--range={{Task.Param.Frames}}"]
    numbers = checked_numbers(job.numbers, job.first, job.frames)
    adjacent = len(numbers) == numbers[-1] - numbers[0] + 1
    chunks = {
        "name": "Frames",
        "type": "CHUNK[INT]",
        "range": "{{Param.Range}}",
        "chunks": {
            "defaultTaskCount": "{{Param.ChunkSize}}",
            "targetRuntimeSeconds": "{{Param.TargetSeconds}}",
            "rangeConstraint": "CONTIGUOUS" if adjacent else "NONCONTIGUOUS",
        },
    }
    facts: dict[str, object] = {"parameterSpace": {"taskParameterDefinitions": [chunks]}}
    if job.device == "cuda":
        facts["hostRequirements"] = {"amounts": [{"name": "amount.worker.gpu", "min": 1}]}
    arguments = ["animate", "{{Param.Plate}}", "-o", "{{Param.Output}}", *options]
    return _step("Frames", arguments, "Predict" if predicted else None, **facts)


def loop_arguments(job: Job) -> list[str]:
    """Returns the options of `loopcore animate` for the settings of a job, without files, names and frame numbers.

    Args:
        job: the job.
    """
    values = {
        "frames": job.frames, "fps": job.fps, "first": job.first, "method": job.method, "speed": job.source.speed,
        "contrast": job.contrast, "cycles": job.cycles, "steady": job.steady, "format": job.format, "depth": job.depth,
        "resolution": job.source.resolution, "device": job.device,
        "compression": None if job.compression == "zip" else job.compression,
    }  # fmt: skip
    flags = {"overwrite": job.overwrite, "verify": job.verify, "proxy": job.proxy}
    return [
        *(f"--{name}={value}" for name, value in values.items() if value is not None),
        *(f"--{name}" for name, given in flags.items() if given),
    ]


def _preview_step(job: Job) -> dict[str, Any]:
    ends = {"name": "End", "type": "STRING", "range": list(_PREVIEWS)}
    arguments = ["preview", "{{Param.Output}}", "-o", "{{Param.Output}}/{{Param.Name}}{{Task.Param.End}}",
        f"--fps={job.fps}"]  # fmt: skip
    return _step("Preview", arguments, "Frames", parameterSpace={"taskParameterDefinitions": [ends]})


def _check_step(job: Job) -> dict[str, Any]:
    plate = "{{Param.Plate}}" if job.source.resolution == 100 else "{{Param.Output}}/{{Param.Name}}_still.exr"
    return _step("Check", ["check", "{{Param.Output}}", f"--plate={plate}"], "Frames")
