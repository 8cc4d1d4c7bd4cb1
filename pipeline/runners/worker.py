"""Beam's worker with this project's memory settings, and the command that starts one elsewhere."""

import gc
import os
import shlex
import sys
import threading
import time
from pathlib import Path

from pipeline.runners.unused_packages import skip_packages

GC_THRESHOLD = (100_000, 20, 100)
"""Allocations before a collection, by generation.

A run allocates millions of short-lived rows and hardly any reference cycles. With Python's
default of 700 the collector takes about a fifth of the time of the whole job.
"""

PARENT_POLL_S = 1.0


def worker_command(module: str, log: Path | None = None, *, arguments: str = "") -> str:
    """Shell command that runs a worker's module with this interpreter and these sources.

    ``arguments``: shell words that are passed on. ``log``: file that stderr is appended to.
    """
    # -P: a folder `pipeline` where the user stands must not be taken for ours.
    root = shlex.quote(str(Path(__file__).resolve().parents[2]))
    path = f'PYTHONPATH={root}"${{PYTHONPATH:+:$PYTHONPATH}}"'
    command = f"exec env {path} {shlex.quote(sys.executable)} -P -m {module} {arguments}".rstrip()
    return command if log is None else f"{command} 2>>{shlex.quote(str(log))}"


def tune_gc() -> None:
    """Let the collector run rarely."""
    gc.set_threshold(*GC_THRESHOLD)


def end_with_parent() -> None:
    """Exit when the process that started this one is gone: a killed one takes nobody along."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_POLL_S)
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def run_worker() -> None:
    """Run Beam's worker; its arguments come in environment variables."""
    tune_gc()
    end_with_parent()
    skip_packages()
    from apache_beam.runners.worker import sdk_worker_main

    gc.freeze()
    sdk_worker_main.main([])
