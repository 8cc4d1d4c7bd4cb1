"""Scores every (prompt, response) once, and keeps what is done, so that a stop loses little."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from training.evaluation.items import Item, Message, Scores
from training.evaluation.models import Scorer
from training.evaluation.progress import ScoreProgress

CHUNK_CHARACTERS = 400_000
"""Text that is scored between two writes."""


class ScoreCache:
    """``scores/<fingerprint>.jsonl``: a line per (prompt, response), the newest last.

    A model with other weights, or read in another way, has another fingerprint and file.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{fingerprint}.jsonl"
        self._known: dict[str, float] = {}
        whole = b""
        if self._path.exists():
            for line in self._path.read_bytes().splitlines(keepends=True):
                try:
                    entry = json.loads(line)
                    self._known[entry["key"]] = float(entry["reward"])
                    whole += line if line.endswith(b"\n") else b""
                except (ValueError, KeyError, TypeError):
                    break  # the line that a kill cut off
            self._path.write_bytes(whole)
        self._file = self._path.open("a", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def get(self, key: str) -> float | None:
        """The reward, if it is known."""
        return self._known.get(key)

    def add(self, entries: Iterable[tuple[str, float]]) -> None:
        """Keep rewards, on disk before the next chunk."""
        for key, reward in entries:
            self._known[key] = reward
            self._file.write(json.dumps({"key": key, "reward": reward}) + "\n")
        self._file.flush()


def score_items(
    scorer: Scorer, items: Sequence[Item], cache: ScoreCache, progress: ScoreProgress
) -> Scores:
    """Rewards [R] of each item; only what the cache lacks is computed.

    Prompts go in order of their length, longest first, so that what is scored together is of one
    length and a lack of memory shows at once. A prompt that occurs in several items is one.
    """
    keys = [[item.key(text) for text in item.responses] for item in items]
    wanted: dict[tuple[Message, ...], dict[str, str]] = {}
    for item, names in zip(items, keys, strict=True):
        for name, text in zip(names, item.responses, strict=True):
            if cache.get(name) is None:
                wanted.setdefault(item.messages, {})[name] = text
    total = sum(map(len, wanted.values()))
    progress.begin(total, sum(len({*names}) for names in keys) - total)

    def size(job: tuple[tuple[Message, ...], dict[str, str]]) -> int:
        messages, texts = job
        return sum(len(turn.content) for turn in messages) + sum(map(len, texts.values()))

    jobs = sorted(wanted.items(), key=size, reverse=True)
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
            (name, reward)
            for (_, texts), given in zip(chunk, rewards, strict=True)
            for name, reward in zip(texts, given, strict=True)
        ]
        cache.add(found)
        progress.advance(len(found))
    return [np.array([cache.get(name) for name in names], dtype=np.float64) for names in keys]
