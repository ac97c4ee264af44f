# SPDX-License-Identifier: Apache-2.0
"""Prepares the worker processes of `--dask local:N`."""

import signal


def dask_setup(worker: object) -> None:
    """Leaves Ctrl-C, which a terminal sends to all processes, to the one that started the workers.

    Args:
        worker: of this process.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
