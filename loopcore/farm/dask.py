# SPDX-License-Identifier: Apache-2.0
"""Frames as tasks of a Dask cluster (`distributed`): the workers compute and write them, no pixels travel back.

Plate and motion are sent once, to all workers. A frame whose worker dies is computed again by another; a frame that
fails is tried twice more. The workers write to the same folder as this process, by the same path.
"""

from __future__ import annotations

import logging
import os
import queue
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loopcore import __version__
from loopcore.errors import EngineError, SequenceError
from loopcore.farm.dask_worker import Scene, probe, write_frame_of
from loopcore.files.atomic import temporary_mark, write_text_atomically
from loopcore.files.pattern import FramePattern
from loopcore.observer import Observer
from loopcore.parallel import thread_count

if TYPE_CHECKING:
    from loopcore.baking.plan import Plan
    from loopcore.baking.writers import FrameWriter, Written
    from loopcore.files.claim import Claim

CONNECT_SECONDS = 10.0
RETRIES = 2
_POLL_SECONDS = 0.1
_RESTARTS = 3  # of frames whose plate and motion were lost with all the workers that held them
_LOCAL = "local:"
_SILENT = logging.CRITICAL + 1


def check_address(address: str) -> None:
    """Checks the text of `--dask`, before anything is read.

    Args:
        address: of the scheduler, or local:N.

    Raises:
        EngineError: it is neither, or distributed is not installed.
    """
    try:
        import distributed  # noqa: F401
    except ImportError:
        raise EngineError("--dask needs the package distributed: pip install 'loopcore[dask]'") from None
    if address.startswith(_LOCAL):
        count = address.removeprefix(_LOCAL)
        if not (count.isascii() and count.isdigit() and 1 <= int(count) <= 256):
            raise EngineError(f"--dask {address}: give the number of processes, 1 to 256, for example local:2")
    elif not address:
        raise EngineError("--dask is empty: give a scheduler's address, for example tcp://10.0.0.1:8786, or local:2")


@contextmanager
def cluster_writer(address: str, observer: Observer) -> Iterator[FrameWriter]:
    """Connects to a cluster, or starts one on this machine, within a `with` block.

    Args:
        address: of a scheduler, such as tcp://10.0.0.1:8786; or local:N for N processes on this machine, which listen
            on the loopback interface only.
        observer: receives a note of the workers.

    Yields:
        The writer of frames, for `loopcore.bake`.

    Raises:
        EngineError: `distributed` is not installed, there is no such scheduler, or it has no workers.
    """
    check_address(address)
    _silence()
    with ExitStack() as stack, ThreadPoolExecutor(1) as thread:
        if address.startswith(_LOCAL):
            # The processes start while this one reads the plate.
            starting = thread.submit(_client, address, stack)
            yield lambda *bake: _write(starting.result(), *bake)
            return
        observer.stage("Connecting to the cluster")
        client = _client(address, stack)
        workers = _workers(client, address)
        _check_versions(client)
        observer.note(f"Computing on {len(workers)} workers")
        yield lambda *bake: _write(client, *bake)


def _silence() -> None:
    """Silences the loggers of distributed and what it uses: what matters to the frames is reported."""
    for name in ("asyncio", "tornado", *logging.root.manager.loggerDict):
        if name.partition(".")[0] in ("distributed", "asyncio", "tornado"):
            logging.getLogger(name).setLevel(_SILENT)


def _client(address: str, stack: ExitStack) -> Any:
    """Returns a client of the cluster, which the stack closes; with local:N starts the cluster."""
    from distributed import Client

    options = {"set_as_default": False}
    if address.startswith(_LOCAL):
        cluster = _local_cluster(int(address.removeprefix(_LOCAL)))
        stack.callback(cluster.close)
        client = Client(cluster, **options)
    else:
        try:
            client = Client(address, timeout=CONNECT_SECONDS, **options)
        except (OSError, TimeoutError, ValueError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise EngineError(
                f"no Dask scheduler answers at {address} within {CONNECT_SECONDS:.0f} s ({reason}): check the address"
            ) from None
    stack.callback(client.close)
    return client


def _local_cluster(count: int) -> Any:
    """Starts processes on this machine that share its processors."""
    from distributed import LocalCluster

    threads = max(1, thread_count() // count)
    environment = {"LOOPCORE_THREADS": str(threads), "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False"}
    return LocalCluster(
        n_workers=count, processes=True, host="127.0.0.1", memory_limit=0, silence_logs=_SILENT,
        # A second thread compresses and writes while the first computes.
        threads_per_worker=2 if threads > 1 else 1, env=environment,
        dashboard_address="127.0.0.1:0", scheduler_kwargs={"dashboard": False}, preload=["loopcore.farm.dask_preload"],
    )  # fmt: skip


def _workers(client: Any, address: str) -> dict[str, Any]:
    """Returns the workers by address; waits for the first."""
    try:
        client.wait_for_workers(1, timeout=CONNECT_SECONDS)
    except TimeoutError:
        raise EngineError(
            f"the Dask scheduler at {address} has no workers: start some by `dask worker {address}`"
        ) from None
    found: dict[str, Any] = client.scheduler_info(n_workers=-1)["workers"]
    return found


def _check_versions(client: Any) -> None:
    """Refuses workers with another version of Loopcore, whose frames might differ."""
    found = client.get_versions(check=False, packages=["loopcore"])
    for address, facts in found["workers"].items():
        there = (facts or {}).get("packages", {}).get("loopcore")
        if there != __version__:
            has = "does not have Loopcore" if there is None else f"has Loopcore {there}"
            raise EngineError(f"worker {address} {has}, and this machine has {__version__}: install the same on all")


def _check_folder(client: Any, folder: Path) -> None:
    """Refuses workers that do not see the output folder."""
    path, text = folder / f".loopcore.tmp-{temporary_mark()}{os.urandom(4).hex()}", os.urandom(8).hex()
    write_text_atomically(path, text)
    try:
        try:
            reasons = client.run(probe, str(path), text)
        except Exception as error:  # of pickle, or of a worker that is lost: of no common kind
            raise EngineError(
                f"the workers do not answer ({error}): install the same Loopcore on all machines, and see their logs"
            ) from None
        for address, reason in reasons.items():
            if reason:
                raise SequenceError(
                    f"worker {address} cannot use the folder '{folder}' ({reason}): write to a folder that all "
                    "machines share under the same path"
                )
    finally:
        path.unlink(missing_ok=True)


def _write(client: Any, plan: Plan, claim: Claim, numbers: Sequence[int], cancelled: Callable[[], bool]) -> Written:
    """The `FrameWriter` of a cluster."""
    loop, recipe, pattern = plan.loop, plan.recipe, plan.pattern
    folder = pattern.folder.absolute()
    if not numbers:
        return
    _check_folder(client, folder)
    pattern = FramePattern(folder, pattern.prefix, pattern.suffix, pattern.padding)
    hosts = [facts["host"] for facts in client.scheduler_info(n_workers=-1)["workers"].values()]
    scene = Scene(loop.plate, loop.motion, recipe, pattern, {host: hosts.count(host) for host in hosts})
    left = list(numbers)
    for _ in range(_RESTARTS):
        try:
            for number, reason in _round(client, scene, left, cancelled):
                claim.check()
                left.remove(number)
                yield number, reason
                if reason:
                    return
        except OSError as error:
            yield left[0], f"the connection to the Dask scheduler was lost ({error}): give the command again"
            return
        if not left or cancelled():
            return
    yield left[0], "the workers that held the plate were lost, again and again: see their logs"


def _round(client: Any, scene: Scene, numbers: Sequence[int], cancelled: Callable[[], bool]) -> Written:
    """Yields the frames of one submission; omits those that were lost with the plate and motion."""
    done: queue.SimpleQueue[Any] = queue.SimpleQueue()
    sent = client.scatter(scene, broadcast=True, hash=False)
    tasks = {client.submit(write_frame_of, sent, number, retries=RETRIES, pure=False): number for number in numbers}
    try:
        for task in tasks:
            task.add_done_callback(done.put)
        left = len(tasks)
        while left and not cancelled():
            try:
                task = done.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                continue
            left -= 1
            reason = _reason(task)
            if reason is not None:
                yield tasks[task], reason
    finally:
        client.cancel([task for task in tasks if not task.done()], force=True)


def _reason(task: Any) -> str | None:
    """Returns why a task failed, "" if it did not; None if it was lost."""
    from distributed import KilledWorker

    if task.cancelled() or task.status == "lost":
        return None
    error = task.exception()
    if error is None:
        return ""
    if isinstance(error, KilledWorker):
        return "it ended every worker that computed it, perhaps for want of memory: see the logs of the workers"
    return str(error).strip() or type(error).__name__
