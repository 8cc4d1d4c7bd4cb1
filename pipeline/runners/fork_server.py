"""A process with everything imported that forks the workers of a run from itself.

A worker that is started by itself takes well over a second to import Beam and the steps, and has
its own copy of them in memory. The standard library's fork server would do, but imports the main
module of the program in every worker, which in a script without a guard starts the run again.

gRPC must not be in use in a process that forks. Importing it starts nothing, and this process makes
no channel and no server; only the workers do.
"""

import contextlib
import gc
import importlib
import os
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection, wait
from typing import NamedTuple

from pipeline.console.logs import set_up_logs
from pipeline.runners.unused_packages import skip_packages
from pipeline.runners.worker import run_worker


class Preload(NamedTuple):
    """To the server: modules to import, for all workers that are forked from then on."""

    modules: Sequence[str]


class Start(NamedTuple):
    """To the server: fork a worker."""

    worker_id: str
    variables: Mapping[str, str]
    """What Beam's worker finds in its environment."""


class Stop(NamedTuple):
    """To the server: end, and with you the workers that are still there."""


class Ended(NamedTuple):
    """From the server: a worker is gone."""

    worker_id: str
    code: int
    """Exit code; -N: ended by signal N."""


def main(arguments: Sequence[str]) -> None:
    """Serve on the file descriptor that the first argument names."""
    serve(Connection(int(arguments[0])), verbose="--verbose" in arguments)


def serve(messages: Connection, *, verbose: bool) -> None:
    """Fork workers as they are asked for, until the launching process closes its end.

    Raises OSError where the system gives no more processes; the workers that are there end, too.
    """
    skip_packages()  # before anything imports Beam, which would load them
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"  # its handlers are for processes that use it
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the launching process
    ended, wake = os.pipe()
    os.set_blocking(ended, False)
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    workers: dict[int, str] = {}
    try:
        while (message := _next(messages, ended, workers)) is not None:
            if isinstance(message, Preload):
                _preload(message.modules)
                continue
            pid = os.fork()
            if pid == 0:
                messages.close()
                _work(message, verbose)
            workers[pid] = message.worker_id
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGKILL)


def _next(messages: Connection, ended: int, workers: dict[int, str]) -> Preload | Start | None:
    """Wait for an order, and report meanwhile which workers end; None: there are no more."""
    while True:
        ready = wait([messages, ended])
        try:
            if ended in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(ended, 4096)
                for gone in _ended(workers):
                    messages.send(gone)
            if messages in ready:
                message = messages.recv()
                return None if isinstance(message, Stop) else message
        except (EOFError, OSError):
            return None  # the launching process is gone, or done


def _ended(workers: dict[int, str]) -> list[Ended]:
    """Take the workers that are gone out of ``workers``."""
    found = []
    for pid in list(workers):
        gone, status = os.waitpid(pid, os.WNOHANG)
        if gone:
            found.append(Ended(workers.pop(pid), os.waitstatus_to_exitcode(status)))
    return found


def _preload(modules: Sequence[str]) -> None:
    for name in modules:
        # What cannot be imported here is imported by the worker, which can say what is wrong.
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()  # else the first collection of a worker would write to, and so copy, every page


def _work(order: Start, verbose: bool) -> None:
    """Be a worker; does not return."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.environ.update(order.variables)
        set_up_logs(verbose=verbose)
        run_worker()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
