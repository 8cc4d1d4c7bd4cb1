"""A step of the graph returns what it keeps and rejects; collections meet by key."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
import pytest

from pipeline.cli import main
from pipeline.curate import graph
from schemas.audit import DuplicateRule, Reason, Stage
from schemas.post import Thread
from tests.beam_run import output_of
from transforms.core import JoinByKey, Rejection, StepResult, apply_to_threads, drop_posts
from transforms.core.outcomes import ThreadOutcome
from transforms.dedup import DuplicateMatch

SAMPLES = Path(__file__).parents[1] / "samples"


class MatchesAndNames(NamedTuple):
    matches: list[DuplicateMatch]
    rows: list[bytes]
    names: list[str]


def match(removed: str) -> DuplicateMatch:
    return DuplicateMatch(
        removed_id=removed,
        removed_thread_id="s:1",
        kept_id="s:2",
        kept_thread_id="s:2",
        is_prompt=False,
        similarity=1.0,
        rule=DuplicateRule.EXACT,
    )


def test_values_of_one_key_meet_and_keep_their_types() -> None:
    found = dict(
        output_of(
            JoinByKey(MatchesAndNames),
            ([(1, match("s:3")), (2, match("s:4"))], tuple[int, DuplicateMatch]),
            ([(1, b"\x00\xff"), (3, b"")], tuple[int, bytes]),
            ([(1, "é"), (1, "b")], tuple[int, str]),
        )
    )
    assert found.keys() == {1, 2, 3}
    assert found[1].matches == [match("s:3")]
    assert found[1].rows == [b"\x00\xff"]
    assert sorted(found[1].names) == ["b", "é"]
    assert found[2] == MatchesAndNames([match("s:4")], [], [])
    assert found[3] == MatchesAndNames([], [b""], [])


def test_a_join_takes_one_collection_for_each_field() -> None:
    with pytest.raises(ValueError, match="2 collections for 3 fields"):
        output_of(
            JoinByKey(MatchesAndNames),
            ([], tuple[int, DuplicateMatch]),
            ([], tuple[int, bytes]),
        )


def without_first_response(thread: Thread) -> ThreadOutcome:
    refused = {thread.responses[0].id: Rejection(Reason.BOT, "the new step")}
    return drop_posts(thread, refused, Stage.LANGUAGE)


class NewStep(beam.PTransform):
    def expand(self, threads: Any) -> StepResult:
        return apply_to_threads(threads, without_first_response, Stage.LANGUAGE, NewStep)


def test_a_new_step_needs_one_line_in_the_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rejects are written and counted, and the funnel adds up, without another edit."""
    take = graph.Steps.take

    def and_then(steps: graph.Steps, result: StepResult) -> Any:
        kept = take(steps, result)
        if result.stage is Stage.LANGUAGE and len(steps) == 3:
            kept = steps.take(kept | "New step" >> NewStep())
        return kept

    output = tmp_path / "out"
    arguments = ("curate", "--input", f"stackexchange={SAMPLES}", "--output", str(output))
    assert main([*arguments, "--quiet"]) == 0
    before = json.loads((output / "manifest.json").read_text())["accounting"]["stages"]
    monkeypatch.setattr(graph.Steps, "take", and_then)
    assert main([*arguments, "--quiet", "--overwrite"]) == 0
    after = json.loads((output / "manifest.json").read_text())["accounting"]["stages"]
    (old,) = [stage for stage in before if stage["stage"] == "language"]
    (new,) = [stage for stage in after if stage["stage"] == "language"]
    assert new["entered"] == old["entered"]
    assert new["rejected"]["bot"] > 10
    assert new["left"] < old["left"]
    assert new["left"] + sum(new["rejected"].values()) == new["entered"]
