"""What a step of the graph returns."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import apache_beam as beam

from schemas.audit import Duplicate, Rejected, Stage
from schemas.post import Thread
from transforms.core.counters import count
from transforms.core.outcomes import ThreadOutcome


class StepResult(NamedTuple):
    """What became of the rows that went into a step of the graph.

    Whoever builds the graph keeps the results in a list: what is written to the audit tables, the
    counts of the accounting and its funnel all follow from that list.
    """

    stage: Stage
    """Where the accounting lists the step; several steps may share a stage."""
    kept: "beam.PCollection[Any]"
    """Rows that continue: threads with the posts that are left of them, or pairs."""
    rejected: "beam.PCollection[Rejected]"
    duplicates: "beam.PCollection[Duplicate] | None" = None
    """Posts that were removed for another one; None: the step does not look for duplicates."""


def apply_to_threads(
    threads: "beam.PCollection[Thread]",
    function: Callable[[Thread], ThreadOutcome],
    stage: Stage,
    owner: type,
) -> StepResult:
    """Apply a step that looks at one thread at a time; it counts as ``owner``."""
    outputs = threads | "Apply" >> beam.ParDo(_Apply(function, owner)).with_outputs(
        "rejected", main="kept"
    )
    return StepResult(stage, outputs.kept, outputs.rejected)


class _Apply(beam.DoFn):
    COUNT_EVERY = 256

    def __init__(self, function: Callable[[Thread], ThreadOutcome], owner: type) -> None:
        self._function = function
        self._owner = owner
        self._seen = self._kept = 0

    def process(self, thread: Thread) -> Iterator[Any]:
        outcome = self._function(thread)
        self._seen += 1
        self._kept += outcome.thread is not None
        yield from outputs_of(outcome)
        if self._seen == self.COUNT_EVERY:
            self._report()

    def finish_bundle(self) -> None:
        self._report()

    def _report(self) -> None:
        count(self._owner, "in-threads", self._seen)
        count(self._owner, "out-threads", self._kept)
        self._seen = self._kept = 0


def outputs_of(outcome: ThreadOutcome) -> Iterator[Any]:
    """Yield the thread on the main output and its rejects on ``rejected``."""
    if outcome.thread is not None:
        yield outcome.thread
    for rejected in outcome.rejected:
        yield beam.pvalue.TaggedOutput("rejected", rejected)
