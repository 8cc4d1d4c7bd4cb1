"""Counters that are seen twice: as Beam metrics, and live by the progress line.

Beam reports the metrics of a local run only at its end, so every step also adds to plain
process-wide totals here. ``pipeline.console.progress`` reads them in the launching process or, with
worker processes, from files in the folder named by ``FORUMPREFS_PROGRESS_DIR``. They are
for people to watch; the accounting in the manifest never uses them.
"""

import functools
import json
import os
import platform
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

PROGRESS_DIR_VARIABLE = "FORUMPREFS_PROGRESS_DIR"
WRITE_INTERVAL_S = 0.25

totals: Counter[str] = Counter()
_last_write = 0.0


class ShownCounter(NamedTuple):
    """How the progress line tells how far a step has come."""

    key: str
    """Of the counter in :data:`totals`: ``AssembleThreads/in-posts``."""
    label: str
    """What it counts, in words: ``posts assembled``."""
    stage: str
    """What the step is called in the timings of the report, e.g. a Stage value."""


_shown: dict[str, ShownCounter] = {}


def show_progress(owner: type, name: str, label: str, stage: str) -> None:
    """Have counter ``name`` of a step shown; called where the step is put into the graph.

    So the launching process knows the steps of the graph that it built last, in their order.
    """
    key = f"{owner.__name__}/{name}"
    _shown.pop(key, None)
    _shown[key] = ShownCounter(key, label, stage)


def shown_counters() -> tuple[ShownCounter, ...]:
    """Return what :func:`show_progress` was told, in order."""
    return tuple(_shown.values())


@functools.cache
def _beam_counter(namespace: str, name: str) -> Any:
    from apache_beam.metrics import Metrics

    return Metrics.counter(namespace, name)


def count(owner: type, name: str, amount: int = 1) -> None:
    """Add ``amount`` to counter ``name`` of a step; call once per batch, not per record."""
    if not amount:
        return
    if "apache_beam" in sys.modules:  # else no pipeline runs here, and Beam need not be loaded
        _beam_counter(owner.__name__, name).inc(amount)
    totals[f"{owner.__name__}/{name}"] += amount
    _share_with_launcher()


def _share_with_launcher() -> None:
    global _last_write
    folder = os.environ.get(PROGRESS_DIR_VARIABLE)
    now = time.monotonic()
    if not folder or now - _last_write < WRITE_INTERVAL_S:
        return
    _last_write = now
    # Workers on other machines of a cluster write to the same folder.
    path = Path(folder) / f"{platform.node()}-{os.getpid()}.json"
    temporary = path.with_suffix(".tmp")
    try:
        temporary.write_text(json.dumps(dict(totals)))
        temporary.replace(path)
    except OSError:
        pass  # the launcher removed the folder: nobody is watching any more
