# SPDX-License-Identifier: Apache-2.0
"""A loop kept ready for the next chunk of the same job."""

from __future__ import annotations

import os
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from loopcore.animate import Prepared, check_job, prepare
from loopcore.errors import LoopcoreError
from loopcore.files.regular import open_regular
from loopcore.job import Job
from loopcore.observer import Observer


class KeptLoop:
    """Prepares jobs as `loopcore.animate.prepare` does, and keeps the last one for jobs that differ in frames alone.

    The files that a job reads are compared by their contents.
    """

    def __init__(self) -> None:
        self._key: object = None
        self._prepared: Prepared | None = None

    def __call__(self, job: Job, observer: Observer) -> Prepared:
        """Returns what `prepare` returns.

        Args:
            job: the job.
            observer: receives progress and may stop the job.

        Raises:
            Cancelled: the observer stopped the job.
            LoopcoreError: as `prepare`.
        """
        check_job(job)
        key = _key(job)
        if self._prepared is None or key is None or self._key != key:
            self.forget()  # frees the memory first
            self._prepared, self._key = prepare(job, observer), key
        return replace(self._prepared, plan=self._prepared.plan.of_numbers(job.numbers))

    def forget(self) -> None:
        """Keeps nothing."""
        self._prepared = self._key = None


def _key(job: Job) -> object:
    """Returns all that the preparation of a job depends on; None where a file cannot be read."""
    try:
        files = [(path, _digest(path)) for path in job.source.files()]
    except (OSError, LoopcoreError):
        return None  # `prepare` says why.
    # Relative paths start at the working folder.
    return replace(job, numbers=None, overwrite=False, verify=False), files, os.getcwd(), dict(os.environ)


def _digest(path: Path) -> str:
    digest = sha256()
    with open_regular(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
