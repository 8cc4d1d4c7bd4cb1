"""Threads become pairs: the split and the decisions, still beside the texts they refer to."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import apache_beam as beam
import msgspec

from schemas.audit import Rejected, Stage
from schemas.fields import doc
from schemas.pair import Pair
from schemas.post import Thread
from schemas.vote_model import VoteModel
from transforms.core import StepResult, count, register, rules_of, show_progress
from transforms.dedup import SplitThread
from transforms.pairing.pairs import Decision, decide_pairs
from transforms.pairing.rows import pair_row
from transforms.pairing.rules import PairingRules


class PairedThread(msgspec.Struct, frozen=True, array_like=True, gc=False, kw_only=True):
    """A thread with at least one pair; responses that are in none, nor above one, are gone.

    Texts are held once per response however many pairs it is in, which keeps the shuffle to
    the shards small.
    """

    thread: Annotated[Thread, doc("prompt and the responses that are in a pair")]
    split: Annotated[str, doc("'train', 'validation' or 'test'")]
    decisions: Annotated[tuple[Decision, ...], doc("one per pair, in the order of the output")]


register(PairedThread)


def pair_thread(
    item: SplitThread, rules: PairingRules, model: VoteModel | None = None
) -> tuple[PairedThread | None, list[Rejected]]:
    """Decide the pairs of a thread; posts in no pair come back as rejects."""
    thread = item.thread
    decisions, rejected = decide_pairs(thread, rules, model)
    if not decisions:
        return None, rejected
    used = sorted({index for d in decisions for index in (d.chosen, d.rejected, *d.context)})
    position = {index: place for place, index in enumerate(used)}
    return (
        PairedThread(
            thread=Thread(
                prompt=thread.prompt, responses=tuple(thread.responses[index] for index in used)
            ),
            split=item.split,
            decisions=tuple(
                msgspec.structs.replace(
                    d,
                    chosen=position[d.chosen],
                    rejected=position[d.rejected],
                    context=tuple(position[index] for index in d.context),
                )
                for d in decisions
            ),
        ),
        rejected,
    )


def pair_rows(paired: PairedThread, *, conversational: bool = False) -> list[Pair]:
    """Expand a paired thread into its output rows."""
    return [
        pair_row(paired.thread, decision, paired.split, conversational=conversational)
        for decision in paired.decisions
    ]


@dataclass
class PairThreads(beam.PTransform):
    """SplitThread → PairedThread."""

    rules: PairingRules
    by_source: Mapping[str, PairingRules] = field(default_factory=dict)
    """Other rules for kinds of source."""
    model: VoteModel | beam.PCollection[VoteModel] | None = None
    """The vote model, or where the one that the run fits comes from; None: the rules need none."""

    def expand(self, threads: beam.PCollection[SplitThread]) -> StepResult:
        show_progress(PairThreads, "out-pairs", "pairs", Stage.PAIR)
        fitted = isinstance(self.model, beam.PCollection)
        outputs = threads | "Pair" >> beam.ParDo(
            _Pair(self.rules, self.by_source),
            model=beam.pvalue.AsSingleton(self.model) if fitted else self.model,
        ).with_outputs("rejected", main="kept")
        return StepResult(Stage.PAIR, outputs.kept, outputs.rejected)


class _Pair(beam.DoFn):
    COUNT_EVERY = 256

    def __init__(self, rules: PairingRules, by_source: Mapping[str, PairingRules]) -> None:
        self._rules = rules
        self._by_source = by_source
        self._threads = self._pairs = 0

    def process(self, item: SplitThread, model: VoteModel | None = None) -> Iterator[Any]:
        rules = rules_of(item.thread, self._rules, self._by_source)
        paired, rejected = pair_thread(item, rules, model)
        self._threads += 1
        if paired is not None:
            self._pairs += len(paired.decisions)
            yield paired
        for row in rejected:
            yield beam.pvalue.TaggedOutput("rejected", row)
        if self._threads == self.COUNT_EVERY:
            self._report()

    def finish_bundle(self) -> None:
        self._report()

    def _report(self) -> None:
        count(PairThreads, "in-threads", self._threads)
        count(PairThreads, "out-pairs", self._pairs)
        self._threads = self._pairs = 0
