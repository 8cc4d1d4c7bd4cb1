"""Preference sets that compare two responses or rate them: HelpSteer2, UltraFeedback, KTO."""

import json
import math
from itertools import permutations
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.audit import Reason, Rejected
from schemas.post import TURN_BREAK, Post, Thread
from transforms.pairing import Decision, PairingRules, decide_pairs, pair_row, rules_for_sets
from transforms.readers.base import ForumFile, ReadRules, ThreadMetadata
from transforms.readers.preferences.conversations import SetRowError
from transforms.readers.preferences.formats import read_row
from transforms.readers.preferences.reader import read_preference_set
from transforms.readers.preferences.rows import AnswerList, Origin
from transforms.threads.assemble import assemble_threads, metadata_by_id

SET_RULES = rules_for_sets(PairingRules(), ())


def read(folder: Path, *rows: Any, name: str = "set.jsonl", **rules: Any) -> list[Any]:
    path = folder / name
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    else:
        path.write_text("".join(f"{json.dumps(item)}\n" for item in rows), encoding="utf-8")
    file = ForumFile(kind="pairs", site="", path=str(path), size=path.stat().st_size)
    return list(read_preference_set(file, ReadRules(**rules)))


def posts_of(items: list[Any]) -> list[Post]:
    return [item for item in items if isinstance(item, Post)]


def rejects_of(items: list[Any]) -> list[Rejected]:
    return [item for item in items if isinstance(item, Rejected)]


def decided(items: list[Any]) -> tuple[list[tuple[Thread, Decision]], list[Rejected]]:
    metadata = metadata_by_id(item.metadata for item in items if isinstance(item, ThreadMetadata))
    pairs, rejected = [], rejects_of(items)
    for outcome in assemble_threads(posts_of(items), metadata):
        # Rows about one prompt repeat it.
        rejected += [row for row in outcome.rejected if row.reason is not Reason.REPEATED_ID]
        if outcome.thread is not None:
            decisions, lost = decide_pairs(outcome.thread, SET_RULES)
            pairs += [(outcome.thread, decision) for decision in decisions]
            rejected += lost
    return pairs, rejected


def relation(items: list[Any]) -> set[tuple[str, str, str, float, float]]:
    """(prompt, chosen, rejected, the two scores) of all pairs that come out."""
    rows = [pair_row(thread, decision, "train") for thread, decision in decided(items)[0]]
    assert {row.confidence for row in rows} <= {1.0}, "a judge's word is no vote"
    return {(r.prompt, r.chosen, r.rejected, r.chosen_score, r.rejected_score) for r in rows}


def message(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


# Two responses and which is better


def steer(strength: Any, **fields: Any) -> dict[str, Any]:
    return {
        "split": "train",
        "prompt": "How?",
        "response_1": "first",
        "response_2": "second",
        "preference_strength": strength,
        "preference_statement": "One is clearer.",
    } | fields


@pytest.mark.parametrize(
    ("strength", "expected"),
    [
        (-3, ("How?", "first", "second", 3.0, 0.0)),
        (2, ("How?", "second", "first", 2.0, 0.0)),
        ("1", ("How?", "second", "first", 1.0, 0.0)),
        (-0.5, ("How?", "first", "second", 0.5, 0.0)),
    ],
)
@pytest.mark.parametrize("name", ["set.jsonl", "set.parquet"])
def test_the_sign_of_the_strength_is_the_side_and_its_amount_the_margin(
    tmp_path: Path, strength: Any, expected: tuple[Any, ...], name: str
) -> None:
    assert relation(read(tmp_path, steer(strength), name=name)) == {expected}
    third = {"context": [message("user", "How?")], "response1": "first", "response2": "second"}
    third |= {"overall_preference": strength, "language": "english"}
    assert relation(read(tmp_path, third, name=name)) == {expected}


@pytest.mark.parametrize("strength", [0, "0", -0.0])
def test_a_strength_of_0_is_a_tie_and_is_counted_as_one(tmp_path: Path, strength: Any) -> None:
    items = read(tmp_path, steer(strength), steer(1, prompt="What?"))
    assert relation(items) == {("What?", "second", "first", 1.0, 0.0)}
    assert [row.reason for row in decided(items)[1]] == [Reason.NO_PAIR, Reason.TIED, Reason.TIED]


def test_turns_of_a_prompt_of_helpsteer2(tmp_path: Path) -> None:
    prompt = "Hi\n<extra_id_1>Assistant\nHello.\n<extra_id_1>User\nHow?"
    first = posts_of(read(tmp_path, steer(1, prompt=prompt)))[0]
    assert first.text == TURN_BREAK.join(["Hi", "Hello.", "How?"])


@pytest.mark.parametrize(("label", "better"), [(1, "yes"), ("2", "no"), (2.0, "no")])
def test_llmbar_names_the_better_output(tmp_path: Path, label: Any, better: str) -> None:
    row = {"input": "Is it?", "output_1": "yes", "output_2": "no", "label": label}
    [(prompt, chosen, *_)] = relation(read(tmp_path, row))
    assert (prompt, chosen) == ("Is it?", better)


# Ratings


def rated(response: str, worth: Any, **fields: Any) -> dict[str, Any]:
    five = {"correctness": 4, "coherence": 4, "complexity": 1, "verbosity": 2}
    return {"prompt": "How?", "response": response, "helpfulness": worth} | five | fields


def test_rows_of_one_prompt_make_a_list_wherever_they_are(tmp_path: Path) -> None:
    rows = [rated("a", 4), rated("x", 1, prompt="What?"), rated("b", 2), rated("c", "2")]
    items = read(tmp_path, *rows, rated("y", 3, prompt="What?"))
    assert relation(items) == {
        ("How?", "a", "b", 4.0, 2.0),
        ("How?", "a", "c", 4.0, 2.0),
        ("What?", "y", "x", 3.0, 1.0),
    }
    columns = {"helpfulness": "verbosity"}
    assert relation(read(tmp_path, *rows[:1], rated("b", 9, verbosity=3), columns=columns)) == {
        ("How?", "b", "a", 3.0, 2.0)
    }


def completion(response: Any, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "response": response} | fields


ASPECTS = {
    "helpfulness": {"Rating": "5", "Rationale": "…"},
    "honesty": {"Rating": "N/A"},
    "truthfulness": {"Rating": "4"},
}


def test_ultrafeedback_goes_by_its_overall_score_and_keeps_fractions(tmp_path: Path) -> None:
    row = {
        "source": "evol_instruct",
        "instruction": "How?",
        "completions": [
            completion("a", overall_score=7.5, **{"fine-grained_score": 4.0}),
            completion("b", overall_score=8, **{"fine-grained_score": 2.25}),
            completion("c", overall_score=None, **{"fine-grained_score": 4.25}),
            completion("d", annotations=ASPECTS),
        ],
    }
    assert relation(read(tmp_path, row)) == {
        ("How?", "b", "a", 8.0, 7.5),
        ("How?", "a", "c", 7.5, 4.25),
        ("How?", "a", "d", 7.5, 4.5),
        ("How?", "b", "c", 8.0, 4.25),
        ("How?", "b", "d", 8.0, 4.5),
        ("How?", "d", "c", 4.5, 4.25),
    }
    row["completions"] = row["completions"][:2]
    by_fine = read(tmp_path, row, columns={"overall_score": "fine-grained_score"})
    assert relation(by_fine) == {("How?", "a", "b", 4.0, 2.25)}
    row["completions"] = [completion("a", overall_score=7.0), completion("b", overall_score=7.5)]
    assert relation(read(tmp_path, row, name="s.parquet")) == {("How?", "b", "a", 7.5, 7.0)}


@pytest.mark.parametrize(
    ("texts", "numbers"), [("generations", "ratings"), ("responses", "scores")]
)
def test_texts_with_ratings_beside_them(tmp_path: Path, texts: str, numbers: str) -> None:
    row = {"prompt": [message("user", "How?")], texts: ["a", "b"], numbers: [1, "2.5"]}
    assert relation(read(tmp_path, row)) == {("How?", "b", "a", 2.5, 1.0)}


@pytest.mark.parametrize(
    "row",
    [
        {
            "prompt": "How?",
            "chosen": "a",
            "rejected": "b",
            "score_chosen": 7.5,
            "score_rejected": 7,
        },
        {
            "prompt": "How?",
            "prompt_id": "f0",
            "messages": [message("user", "How?"), message("assistant", "a")],
            "chosen": [message("user", "How?"), message("assistant", "a")],
            "rejected": [message("user", "How?"), message("assistant", "b")],
            "score_chosen": 7.5,
            "score_rejected": 7.0,
        },
        {
            "instruction": "How?",
            "chosen_response": "a",
            "rejected_response": "b",
            "chosen_avg_rating": 7.5,
            "rejected_avg_rating": 7.0,
        },
        {"prompt": "How?", "chosen": "a", "rejected": "b", "chosen-rating": 7.5}
        | {"rejected-rating": 7.0},
    ],
)
@pytest.mark.parametrize("name", ["set.jsonl", "set.parquet"])
def test_binarised_ultrafeedback_keeps_its_ratings(
    tmp_path: Path, row: dict[str, Any], name: str
) -> None:
    assert relation(read(tmp_path, row, name=name)) == {("How?", "a", "b", 7.5, 7.0)}


@pytest.mark.parametrize(
    ("chosen", "rejected", "expected"),
    [(9.5, 7.0, (9.5, 7.0)), (9, 7.5, (9.0, 7.5)), (0.4, 0, (0.4, 0.0)), (0.4, None, (0.4, 0.0))],
)
def test_a_rating_beside_a_whole_number_keeps_its_fraction(
    tmp_path: Path, chosen: Any, rejected: Any, expected: tuple[float, float]
) -> None:
    row = {"prompt": "How?", "chosen": "a", "rejected": "b"}
    row |= {"chosen_score": chosen, "rejected_score": rejected}
    assert relation(read(tmp_path, row)) == {("How?", "a", "b", *expected)}
    own = {"pair_id": "p", "site": "f.example", "source": "stackexchange", "confidence": 0.8}
    own |= {f"{name}_id": f"f.example:{n}" for n, name in enumerate(("prompt", *row))}
    own |= {"thread_id": own["prompt_id"]}
    assert relation(read(tmp_path, row | own)) == {("How?", "a", "b", *expected)}


def kto(completion: Any, label: Any, prompt: Any = "How?") -> dict[str, Any]:
    return {"prompt": prompt, "completion": completion, "label": label}


def test_labels_true_and_false_of_one_prompt_are_pairs(tmp_path: Path) -> None:
    rows = [kto("a", True), kto("b", False), kto("c", "false"), kto("d", 1)]
    chat = kto([message("assistant", "y")], True, [message("user", "What?")])
    items = read(tmp_path, *rows, chat, kto("n", False, "What?"))
    assert {row[:3] for row in relation(items)} == {
        *(("How?", good, poor) for good in "ad" for poor in "bc"),
        ("What?", "y", "n"),
    }
    assert decided(items)[1] == []


def test_prompts_with_one_label_only_are_counted(tmp_path: Path) -> None:
    items = read(tmp_path, kto("a", True), kto("b", True), kto("c", False, "What?"))
    pairs, rejected = decided(items)
    assert pairs == []
    assert sorted(row.reason for row in rejected) == [
        Reason.NO_PAIR,
        Reason.TIED,
        Reason.TIED,
        Reason.TOO_FEW_RESPONSES,
        Reason.TOO_FEW_RESPONSES,
    ]


DIALOGUE = "Human: Do you like tea?\n\nAssistant: Yes, green."


@pytest.mark.parametrize("prompt", ["Write a dialogue.", [message("user", "Write a dialogue.")]])
@pytest.mark.parametrize("text", [DIALOGUE, "Assistant: started", "\n\nHuman: and no more"])
def test_a_response_that_is_a_dialogue_stays_whole(tmp_path: Path, prompt: Any, text: str) -> None:
    asked = {"prompt": prompt}
    rows = [
        asked | {"chosen": text, "rejected": "no"},
        asked | {"completions": [completion(text, overall_score=2), completion("no")]},
        asked | {"responses": [text, "no"], "ratings": [2, 1]},
        steer(-1, **asked, response_1=text),
        {"input": prompt, "output_1": text, "output_2": "no", "label": 1},
        rated(text, 3, **asked),
        kto(text, True, prompt),
    ]
    for row in rows:
        first, better, *_ = posts_of(read(tmp_path, row))
        assert (first.text, better.text) == ("Write a dialogue.", text)


def test_a_transcript_beside_its_prompt_is_read_as_one(tmp_path: Path) -> None:
    asked, more = "\n\nHuman: How?", "\n\nAssistant: So.\n\nHuman: Why?\n\nAssistant: Thus."
    for prompt in (asked, f"{asked}\n\nAssistant:", "How?", [message("user", "How?")]):
        first, answer = posts_of(read(tmp_path, kto(asked + more, True, prompt)))
        assert (first.text, answer.text) == (TURN_BREAK.join(["How?", "So.", "Why?"]), "Thus.")
    for blank in ("", " ", [], None):
        first, answer = posts_of(read(tmp_path, kto(asked + more, True, blank)))
        assert (first.text, answer.text) == (TURN_BREAK.join(["How?", "So.", "Why?"]), "Thus.")
    # The turn that the prompt opened, or that follows it.
    for prompt, text, expected in (
        (f"{asked}\n\nAssistant:", DIALOGUE, DIALOGUE),
        (asked, f"\n\nAssistant: A play.\n\n{DIALOGUE}", f"A play.\n\n{DIALOGUE}"),
    ):
        first, answer = posts_of(read(tmp_path, kto(text, True, prompt)))
        assert (first.text, answer.text) == ("How?", expected)


# The same response in several rows


def gone(items: list[Any]) -> list[tuple[str, Reason]]:
    metadata = metadata_by_id(item.metadata for item in items if isinstance(item, ThreadMetadata))
    by_id = {post.id: post.text for post in posts_of(items)}
    outcomes = assemble_threads(posts_of(items), metadata)
    return sorted((by_id[row.id], row.reason) for found in outcomes for row in found.rejected)


def test_ratings_of_one_response_that_differ_are_averaged_in_any_order(tmp_path: Path) -> None:
    rows = [rated("Nile", 4), rated("Rhine", 2), rated("Nile", -1), rated("Nile", 0.1)]
    for order in permutations(rows):
        items = read(tmp_path, *order)
        assert relation(items) == {("How?", "Rhine", "Nile", 2.0, math.fsum((4, -1, 0.1)) / 3)}
        assert (
            gone(items) == [("How?", Reason.REPEATED_ID)] * 3 + [("Nile", Reason.REPEATED_ID)] * 2
        )
    one_row = {"prompt": "Q", "responses": ["Nile", "Rhine", "Nile"], "scores": [3, 2, 0]}
    assert relation(read(tmp_path, one_row)) == {("Q", "Rhine", "Nile", 2.0, 1.5)}


def test_labels_that_contradict_are_refused_and_counted(tmp_path: Path) -> None:
    rows = [kto("a", True), kto("a", False), kto("a", True), kto("b", True), kto("c", False)]
    for order in (rows, rows[::-1], [*rows[1:], rows[0]]):
        items = read(tmp_path, *order)
        assert relation(items) == {("How?", "b", "c", 1.0, 0.0)}
        assert [row for row in gone(items) if row[0] == "a"] == [
            ("a", Reason.CONTRADICTORY_LABEL)
        ] * 3
    assert gone(read(tmp_path, rows[0], rows[0], rows[4]))[-1] == ("a", Reason.REPEATED_ID)


def test_the_amount_of_a_preference_is_not_that_of_another(tmp_path: Path) -> None:
    def two(better: str, worse: str, amount: int) -> dict[str, Any]:
        return steer(-amount, response_1=better, response_2=worse)

    rows = [two("Nile", "Amazon", 2), two("Nile", "Amazon", 1), two("Nile", "Rhine", 3)]
    rows += [two("Po", "Nile", 2), two("Po", "Rhine", 2)]
    for order in (rows, rows[::-1]):
        assert relation(read(tmp_path, *order)) == {
            ("How?", "Nile", "Amazon", 1.0, 0.0),
            ("How?", "Nile", "Rhine", 1.0, 0.0),
            ("How?", "Po", "Nile", 1.0, 0.0),
            ("How?", "Po", "Rhine", 2.0, 0.0),
        }
    outputs = [("a", "b"), ("b", "c")]
    rows = [{"input": "Q", "output_1": a, "output_2": b, "label": 1} for a, b in outputs]
    assert relation(read(tmp_path, *rows)) == {("Q", a, b, 1.0, 0.0) for a, b in outputs}


def test_a_stated_amount_is_not_compared_with_a_rating_beside_it(tmp_path: Path) -> None:
    items = read(tmp_path, steer(-2), steer(-1), rated("third", 4))
    of_first = {row for row in relation(items) if "first" in row}
    assert of_first == {("How?", "first", "second", 1.0, 0.0)}


# What cannot be used


@pytest.mark.parametrize(
    ("row", "reason", "detail"),
    [
        (steer(None), Reason.MISSING_FIELD, "preference_strength is missing, and is needed"),
        (steer("much"), Reason.BAD_VALUE, "preference_strength: 'much': must be a number"),
        (steer(True), Reason.BAD_VALUE, "preference_strength: true: must be a number"),
        (steer([3]), Reason.BAD_VALUE, "preference_strength: a list of 1: must be a number"),
        (steer(1, response_1=None), Reason.MISSING_FIELD, "response_1 is missing, and is needed"),
        (steer(1, response_2=7), Reason.BAD_VALUE, "response_2 is 7, not text"),
        (steer(1, response_2="first"), Reason.BAD_VALUE, "are the same text"),
        (steer(1, prompt=None), Reason.MISSING_FIELD, "there is no prompt"),
        (steer(1, prompt={"a": 1}), Reason.BAD_VALUE, "prompt is an object"),
        (
            {"input": "Q", "output_1": "a", "output_2": "b", "label": 3},
            Reason.BAD_VALUE,
            "label: 3: must be 1 or 2",
        ),
        ({"input": "Q", "output_1": "a", "label": 1}, Reason.MISSING_FIELD, "output_2 is missing"),
        (steer(1, response_1="same", response_2="same \n"), Reason.BAD_VALUE, "are the same text"),
        (
            {"input": "Q", "output_1": " a", "output_2": "a", "label": 1},
            Reason.BAD_VALUE,
            "output_1 and output_2 are the same text",
        ),
        (
            {"prompt": "Q", "chosen": "a\n", "rejected": "a"},
            Reason.BAD_VALUE,
            "chosen and rejected are the same text",
        ),
        (rated("a", None), Reason.MISSING_FIELD, "--pairs-columns helpfulness=THEIRS"),
        (rated("a", [3, 4]), Reason.BAD_VALUE, "helpfulness: a list of 2: must be a number"),
        (rated("a", 10**40), Reason.BAD_VALUE, "must be a number of at most 62 bits"),
        (kto("a", None), Reason.MISSING_FIELD, "label is missing, and is needed"),
        (kto("a", "good"), Reason.BAD_VALUE, "label: 'good': must be true or false"),
        (kto(None, True), Reason.MISSING_FIELD, "completion is missing, and is needed"),
        (kto("a", True, None), Reason.MISSING_FIELD, "there is no prompt"),
        (
            {"prompt": "Q", "responses": ["a", "b", "c"], "scores": [1, 2]},
            Reason.BAD_VALUE,
            "responses has 3 entries, and scores has 2: each response needs its rating",
        ),
        (
            {"prompt": "Q", "generations": "a", "ratings": [1]},
            Reason.BAD_VALUE,
            "generations: 'a': must be a list",
        ),
        (
            {"prompt": "Q", "generations": ["a"], "ratings": 1},
            Reason.BAD_VALUE,
            "ratings: 1: must be a list",
        ),
        ({"instruction": "Q", "completions": None}, Reason.MISSING_FIELD, "completions is missing"),
        ({"completions": [completion("a")]}, Reason.MISSING_FIELD, "there is no prompt"),
    ],
)
def test_a_row_that_cannot_be_used_is_one_reject(
    tmp_path: Path, row: dict[str, Any], reason: Reason, detail: str
) -> None:
    items = read(tmp_path, steer(1), row, steer(1))
    [rejected] = rejects_of(items)
    assert (rejected.id, rejected.reason, rejected.record) == ("set.jsonl:2", reason, "post")
    assert detail in rejected.detail
    assert len(posts_of(items)) == 6


@pytest.mark.parametrize(
    ("worth", "reason"), [(math.nan, Reason.MISSING_FIELD), (math.inf, Reason.BAD_VALUE)]
)
def test_what_json_has_no_number_for_is_refused_from_parquet(
    tmp_path: Path, worth: float, reason: Reason
) -> None:
    for row in (steer(worth), rated("a", worth)):
        [rejected] = read(tmp_path, row, name="set.parquet")
        assert (rejected.id, rejected.reason) == ("set.parquet:1", reason)
    unrated = {"prompt": "How?", "chosen": "a", "rejected": "b"}
    row = unrated | {"score_chosen": math.nan, "score_rejected": math.nan}
    assert relation(read(tmp_path, row, name="set.parquet")) == {("How?", "a", "b", 1.0, 0.0)}


def test_a_bad_completion_leaves_the_others(tmp_path: Path) -> None:
    given = [
        completion("a", overall_score=3),
        completion(None, overall_score=3),
        completion("c", overall_score="N/A"),
        completion("d"),
        "e",
        completion("f", annotations={"honesty": {"Rating": "N/A"}, "x": [1]}),
        completion("g", overall_score=1),
    ]
    items = read(tmp_path, {"instruction": "Q", "completions": given})
    assert relation(items) == {("Q", "a", "g", 3.0, 1.0)}
    assert [(r.id, r.reason, r.detail) for r in rejects_of(items)] == [
        (
            "set.jsonl:1/completions[1]",
            Reason.MISSING_FIELD,
            "response is missing, and is needed",
        ),
        ("set.jsonl:1/completions[2]", Reason.BAD_VALUE, "rating: 'N/A': must be a number"),
        (
            "set.jsonl:1/completions[3]",
            Reason.MISSING_FIELD,
            "a rating is missing, and is needed",
        ),
        (
            "set.jsonl:1/completions[4]",
            Reason.BAD_VALUE,
            "one of completions is 'e', not an object with a rating, and there is no list of "
            "ratings",
        ),
        (
            "set.jsonl:1/completions[5]",
            Reason.MISSING_FIELD,
            "a rating is missing, and is needed",
        ),
    ]


def test_messages_name_the_column_of_the_file(tmp_path: Path) -> None:
    row = {"q": "Q", "one": "a", "two": "b", "by": "much"}
    columns = {"prompt": "q", "response_1": "one", "response_2": "two", "preference_strength": "by"}
    [rejected] = read(tmp_path, row, columns=columns)
    assert rejected.detail == "by: 'much': must be a number"
    assert relation(read(tmp_path, row | {"by": 3}, columns=columns)) == {("Q", "b", "a", 3.0, 0.0)}


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 70), 1 << 70)
    | st.floats()
    | st.sampled_from(["", "1", "-2.5", "true", "N/A", "\ud800", "\n\nHuman: a\n\nAssistant: b"])
    | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["role", "content", "response", "overall_score", "annotations", "Rating"]
            ),
            inner,
        )
    ),
    max_leaves=6,
)
SHAPES = [
    steer(1),
    {"context": [message("user", "Q")], "response1": "a", "response2": "b"}
    | {"overall_preference": -1},
    {"input": "Q", "output_1": "a", "output_2": "b", "label": 1},
    rated("a", 3),
    kto("a", True),
    {"instruction": "Q", "completions": [completion("a", overall_score=1), completion("b")]},
    {"prompt": "Q", "responses": ["a", "b"], "scores": [1, 2]},
    {"prompt": "Q", "chosen": "a", "rejected": "b", "score_chosen": 2.5, "score_rejected": 1},
]


@settings(max_examples=200)
@given(st.sampled_from(SHAPES), st.data())
def test_nothing_in_a_row_raises(shape: dict[str, Any], data: Any) -> None:
    row = dict(shape)
    for _ in range(data.draw(st.integers(1, 3))):
        name = data.draw(st.sampled_from([*shape, "site", "title", "license", "ratings"]))
        if data.draw(st.booleans()):
            row[name] = data.draw(anything)
        else:
            row.pop(name, None)
    try:
        parsed = read_row(row, Origin("pairs/set", {}))
    except SetRowError as error:
        assert error.reason in (Reason.BAD_VALUE, Reason.MISSING_FIELD) and error.detail
        return
    posts = [parsed.prompt]
    if isinstance(parsed, AnswerList):
        posts += parsed.responses
        assert all(error.detail for _, _, error in parsed.bad)
    else:
        posts += [parsed.better, parsed.worse]
    for post in posts:
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(post), type=Post) == post
        assert post.thread_id == parsed.prompt.id and ":" not in post.site
        assert post.rating is None or (
            math.isfinite(post.rating) and round(post.rating) == post.score
        )
        post.text.encode()
