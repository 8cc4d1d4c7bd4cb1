"""Entry point of a local worker process: Beam's worker with this project's memory settings."""

import gc
import os
import threading
import time

GC_THRESHOLD = (100_000, 20, 100)
"""Allocations before a collection, by generation.

A run allocates millions of short-lived rows and hardly any reference cycles. With Python's
default of 700 the collector takes about a fifth of the time of the whole job.
"""


PARENT_POLL_S = 1.0


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
    from apache_beam.runners.worker import sdk_worker_main

    gc.freeze()
    sdk_worker_main.main([])


if __name__ == "__main__":
    run_worker()
