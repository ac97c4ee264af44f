# SPDX-License-Identifier: Apache-2.0
"""Prepares the worker processes of `--dask local:N`."""

import signal
import threading


def dask_setup(worker: object) -> None:
    """Leaves Ctrl-C, which a terminal sends to all processes, to the one that started the workers; loads the kernels.

    Args:
        worker: of this process.
    """
    from loopcore.loop import load_kernels

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=load_kernels, args=("cpu",), daemon=True).start()
