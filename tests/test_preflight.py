"""``curate --dry-run`` and ``publish --json``: what programs ask before and after."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("huggingface_hub", reason="the client of the Hub is not installed")

from pipeline.cli import main
from tests.hub import loopback_only
from tests.publishing import REPO, SAMPLES, Publisher, publisher

SAMPLE = f"stackexchange={SAMPLES / 'sourdough.example.com'}"


@pytest.fixture
def user() -> Iterator[Publisher]:
    with loopback_only() as attempts, publisher() as found:
        yield found
    assert not attempts


def dry_run(output: Path, *more: str) -> list[str]:
    return ["curate", "--input", SAMPLE, "--output", str(output), "--dry-run", *more]


def test_nothing_is_written(
    user: Publisher, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert user.run(*dry_run(tmp_path / "out"), "--publish", REPO, "--version", "v1.0.0") == 0
    said = capsys.readouterr().out
    assert "would read stackexchange" in said and "the dataset would be made" in said
    assert list(tmp_path.iterdir()) == [] and REPO not in user.hub.store.repositories


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--input", "threads=/nowhere.jsonl"), "no such file"),
        (("--languages", "xx"), "does not know this code"),
        (("--decontaminate", "/nowhere"), "/nowhere"),
        (("--takedown", "/nowhere"), "/nowhere"),
        (("--min-margin", "many"), "min-margin"),
    ],
)
def test_slips_are_found(
    flags: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(dry_run(tmp_path / "out", *flags))
    except SystemExit as left:  # argparse's own
        code = int(left.code or 0)
    assert code == 2
    assert said in capsys.readouterr().err


def test_where_to_publish_is_asked(
    user: Publisher, sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert user.publish(sample, "v1", "--quiet") == 0
    target = ("--publish", REPO, "--version")
    assert user.run(*dry_run(tmp_path / "out"), *target, "v1") == 0
    assert "has been published" in capsys.readouterr().out
    assert user.run(*dry_run(tmp_path / "out"), *target, "v1.1") == 0
    assert "the number is free" in capsys.readouterr().out
    assert user.run(*dry_run(tmp_path / "out"), *target, "v1.0.0") == 3
    assert "spelled v1" in capsys.readouterr().err


def test_a_token_that_may_not_write_is_found(
    user: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user.hub.create_repo(REPO)
    monkeypatch.setenv("HF_TOKEN", user.hub.read_token)
    assert user.run(*dry_run(tmp_path / "out"), "--publish", REPO, "--version", "v1") == 3


def test_texts_that_may_not_be_published_are_found_before_they_are_read(
    user: Publisher, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reddit = f"reddit={Path(__file__).parents[1] / 'samples' / 'reddit'}"
    command = ("curate", "--dry-run", "--input", reddit, "--output", str(tmp_path / "out"))
    target = ("--publish", REPO, "--version", "v1")
    assert user.run(*command, *target) == 3
    assert "may not be published" in capsys.readouterr().err
    assert user.run(*command, *target, "--ids-only") == 0


def test_the_outcome_as_json(
    user: Publisher, sample: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def published(*more: str) -> dict[str, object]:
        assert user.publish(sample, "v1.0.0", "--json", *more) == 0
        out = capsys.readouterr().out
        found: dict[str, object] = json.loads(out)
        assert out.count("\n") == 1
        return found

    forecast = published("--dry-run")
    assert (forecast["status"], forecast["commit"]) == ("absent", None)
    first = published()
    commit = user.hub.tags(REPO)["v1.0.0"]
    assert (first["status"], first["commit"], first["version"]) == ("published", commit, "v1.0.0")
    assert first["bytes_sent"] == forecast["bytes_to_send"] == user.hub.bytes_received
    again = published()
    assert (again["status"], again["commit"], again["bytes_sent"]) == ("there", commit, 0)
    assert published("--dry-run")["status"] == "there"
