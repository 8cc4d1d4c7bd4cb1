"""Scores every (prompt, response) once, and keeps what is done, so that a stop loses little."""

import fcntl
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from schemas.small_files import decode_lenient_json, open_regular
from training.console import ProgressDisplay
from training.errors import ConfigError
from training.evaluation.items import ChatMessage, Item, Scores, item_with_context
from training.evaluation.models import Scored, Scorer

CHUNK_CHARACTERS = 400_000
"""Text that is scored between two writes."""


class ScoreCache:
    """``scores/<fingerprint>.jsonl``: a line per (prompt, response), the newest last.

    A model with other weights, or read in another way, has another fingerprint and file.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{fingerprint}.jsonl"
        self._known: dict[str, Scored] = {}
        self._file = self._path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise ConfigError(f"{self._path}: another evaluation is writing it") from None
        whole = 0
        with open_regular(self._path) as known:
            for line in known:
                try:
                    entry = decode_lenient_json(line)
                    self._known[entry["key"]] = Scored(
                        float(entry["reward"]), bool(entry["cut"]), int(entry.get("tokens", 0))
                    )
                except (ValueError, KeyError, TypeError, OverflowError):
                    break  # the line that a kill cut off
                if not line.endswith(b"\n"):
                    break
                whole += len(line)
        self._file.truncate(whole)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def get(self, key: str) -> Scored | None:
        """What is known of a response."""
        return self._known.get(key)

    def add(self, entries: Iterable[tuple[str, Scored]]) -> None:
        """Keep rewards, on disk before the next chunk."""
        for key, scored in entries:
            self._known[key] = scored
            line = {"key": key, "reward": scored.reward, "cut": scored.cut}
            if scored.tokens:
                line["tokens"] = scored.tokens
            self._file.write(json.dumps(line) + "\n")
        self._file.flush()


def score_items(
    scorer: Scorer, items: Sequence[Item], cache: ScoreCache, progress: ProgressDisplay
) -> tuple[Scores, int]:
    """Rewards [R] of each item, and how many responses were cut; see :func:`ask_of_items`."""
    found = ask_of_items(scorer, items, cache, progress)
    return rewards_of(found), count_cut(items, found)


def rewards_of(answers: Sequence[Sequence[Scored]]) -> Scores:
    """Rewards [R] of each item."""
    return [np.array([one.reward for one in row], dtype=np.float64) for row in answers]


def count_cut(items: Sequence[Item], answers: Sequence[Sequence[Scored]]) -> int:
    """How many different responses were not read whole."""
    cut = {
        item.key(text): scored.cut
        for item, row in zip(items, answers, strict=True)
        for text, scored in zip(item.responses, row, strict=True)
    }
    return sum(cut.values())


def ask_of_items(
    scorer: Scorer, items: Sequence[Item], cache: ScoreCache, progress: ProgressDisplay
) -> list[list[Scored]]:
    """What a model says of the responses of each item; computes what the cache lacks.

    Prompts go in order of their length, longest first, so that what is scored together is of one
    length and a lack of memory shows at once. A prompt that occurs in several items is one.
    """
    items = [item_with_context(item, scorer.context) for item in items]
    keys = [[item.key(text) for text in item.responses] for item in items]
    wanted: dict[tuple[ChatMessage, ...], dict[str, str]] = {}
    for item, names in zip(items, keys, strict=True):
        for name, text in zip(names, item.responses, strict=True):
            if cache.get(name) is None:
                wanted.setdefault(item.messages, {})[name] = text
    total = sum(map(len, wanted.values()))
    if known := sum(len({*names}) for names in keys) - total:
        progress.say(f"{known:,} responses were scored before")
    progress.begin(total)

    def size(job: tuple[tuple[ChatMessage, ...], dict[str, str]]) -> int:
        messages, texts = job
        return sum(len(turn.content) for turn in messages) + sum(map(len, texts.values()))

    jobs = sorted(wanted.items(), key=size, reverse=True)
    done = 0
    while jobs:
        taken, characters = 0, 0
        while taken < len(jobs) and (not taken or characters < CHUNK_CHARACTERS):
            characters += size(jobs[taken])
            taken += 1
        chunk, jobs = jobs[:taken], jobs[taken:]
        rewards = scorer.score(
            [messages for messages, _ in chunk], [list(texts.values()) for _, texts in chunk]
        )
        found = [
            (name, scored)
            for (_, texts), given in zip(chunk, rewards, strict=True)
            for name, scored in zip(texts, given, strict=True)
        ]
        cache.add(found)
        done += len(found)
        progress.update(done)
    known_now = {name: scored for names in keys for name in names if (scored := cache.get(name))}
    return [[known_now[name] for name in names] for names in keys]
