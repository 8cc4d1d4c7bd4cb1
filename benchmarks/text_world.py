"""A forum whose true quality is known and stands in the texts, with votes that are unfair.

    python -m benchmarks.text_world --output out/text-world --threads 3000
    forumprefs ablate out/text-world/arms.toml --output out/text-world/ablate

writes ``threads.jsonl`` (dated votes), ``truth.jsonl`` (pairs of other questions, labelled by true
quality) and ``arms.toml``. What is planted:

- quality: the share of an answer's words that are from a list of good or of bad ones;
- time: quick answers come on the first day and late ones days or months after, and the words tell
  which: quick ones are short and use words of their own. Quality is independent of both;
- votes: a visitor gives one vote among the answers that stand, by attention and quality. Attention
  falls with the rank by score at the end of the day before (rank^-eta), and most visitors come in
  the first days. So early answers gain by head start and by rank, and a label by net votes teaches
  the words of the early ones.

``--eta 0 --late 0`` plants no unfairness: there no label may lose.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from schemas.custom_thread import THREAD_FORMAT
from schemas.post import Post, Thread

DAY_S = 86_400
EPOCH_S = 1_500_000_000 // DAY_S * DAY_S
"""A midnight in 2017."""
KINDS = {"good": 40, "bad": 40, "quick": 30, "late": 30, "plain": 600}


class World(NamedTuple):
    """What is planted."""

    threads: int = 3000
    seed: int = 0
    eta: float = 0.8
    """Attention of rank r is r^-eta."""
    late: float = 0.5
    """Share of answers that come late; 0: all come on the first day."""
    taste: float = 1.0
    """Log odds of a vote per unit of quality."""
    votes: float = 12.0
    """Mean number of votes of a thread."""
    top: int = 0
    """Not 0: attention is 1 for so many first ranks and a quarter below, whatever `eta`."""
    good: float = 0.10
    """Share of good words gained per unit of quality."""


class Answer(NamedTuple):
    """One answer."""

    text: str
    quality: float
    day: int


def make_words(rng: np.random.Generator) -> dict[str, list[str]]:
    """Words of each kind, without two of one spelling."""
    syllables = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
    found: dict[str, None] = {}
    while len(found) < sum(KINDS.values()):
        found["".join(rng.choice(syllables, size=3))] = None
    words = iter(found)
    return {kind: [next(words) for _ in range(count)] for kind, count in KINDS.items()}


def write_answer(
    world: World, words: dict[str, list[str]], rng: np.random.Generator, day: int
) -> Answer:
    """An answer whose words show its quality, and whether it was quick."""
    quality = float(rng.normal())
    size = int(np.clip(np.exp(rng.normal(3.3 if day == 0 else 4.1, 0.35)), 12, 250))
    lean = np.clip(world.good * quality, -0.3, 0.3)
    share = {"good": 0.1 + max(lean, 0) - min(max(-lean, 0), 0.08), "bad": 0.1 + max(-lean, 0)}
    share["bad"] -= min(max(lean, 0), 0.08)
    share["quick" if day == 0 else "late"] = 0.15
    share["plain"] = 1 - sum(share.values())
    kinds = rng.choice(list(share), size=size, p=list(share.values()))
    places = rng.random(size)
    lists = [words[str(kind)] for kind in kinds]
    text = " ".join(one[int(at * len(one))] for one, at in zip(lists, places, strict=True))
    return Answer(text, quality, day)


def cast_votes(world: World, answers: list[Answer], rng: np.random.Generator) -> np.ndarray:
    """Votes [answers, days]: each visitor gives one, by attention and quality."""
    days = 200
    votes = np.zeros((len(answers), days), dtype=np.int64)
    born = np.array([answer.day for answer in answers])
    quality = np.array([answer.quality for answer in answers])
    # Two thirds of the visitors come within days of the question, the others any time after.
    when = np.where(
        rng.random(rng.poisson(world.votes)) < 0.6,
        0,
        1,
    )
    early = np.floor(rng.exponential(3.0, size=len(when)))
    late = rng.integers(0, days, size=len(when))
    for day in sorted(np.where(when == 0, early, late).clip(0, days - 1).astype(int)):
        there = born <= day
        if not there.any():
            continue
        score = votes[:, :day].sum(1)
        ahead = (score[None, :] > score[:, None]) & there[None, :]
        tied = (score[None, :] == score[:, None]) & there[None, :]
        rank = 1 + ahead.sum(1) + (tied.sum(1) - 1) / 2
        seen = np.where(rank <= world.top, 1.0, 0.25) if world.top else rank**-world.eta
        weight = np.where(there, seen * np.exp(world.taste * quality), 0.0)
        votes[rng.choice(len(answers), p=weight / weight.sum()), day] += 1
    return votes


def make_threads(
    world: World, words: dict[str, list[str]], *, stream: int, count: int
) -> Iterator[tuple[str, list[Answer], np.ndarray]]:
    """Yield (question, answers, votes)."""
    for number in range(count):
        rng = np.random.default_rng([world.seed, stream, number])
        asked = " ".join(rng.choice(words["plain"], size=15))
        late = rng.random(rng.integers(2, 5)) < world.late
        days = np.where(late, np.floor(rng.exponential(25.0, size=len(late))) + 1, 0)
        answers = [write_answer(world, words, rng, int(day)) for day in np.minimum(days, 150)]
        yield asked, answers, cast_votes(world, answers, rng)


def as_row(number: int, asked: str, answers: list[Answer], votes: np.ndarray) -> dict[str, Any]:
    """A thread in the project's own format."""
    start = EPOCH_S + number * DAY_S % (300 * DAY_S)
    return {
        "format": THREAD_FORMAT,
        "site": "planted.example.com",
        "license": "CC0-1.0",
        "id": number,
        "title": f"Question {number}: {asked[:40]}",
        "text": asked,
        "created_at": start,
        "responses": [
            {
                "id": 10 * number + place,
                "text": answer.text,
                "author": f"author {place}",
                "created_at": start + answer.day * DAY_S + 60 * (place + 1),
                "votes": [
                    {"date": start + int(day) * DAY_S, "value": 1, "count": int(votes[place, day])}
                    for day in np.flatnonzero(votes[place])
                ],
            }
            for place, answer in enumerate(answers)
        ],
    }


def as_thread(number: int, asked: str, answers: list[Answer], votes: np.ndarray) -> Thread:
    """A thread as the pipeline sees it."""
    row = as_row(number, asked, answers, votes)
    thread_id = f"{row['site']}:{number}"
    common = {"source": "threads", "site": row["site"], "url": "", "license": row["license"]}
    prompt = Post(
        id=thread_id, thread_id=thread_id, title=row["title"], text=asked, score=0,
        created_at=row["created_at"] * 1000, **common,
    )  # fmt: skip
    responses = []
    for answer, response in zip(answers, row["responses"], strict=True):
        days = [vote["date"] // DAY_S for vote in response["votes"] for _ in range(vote["count"])]
        responses.append(
            Post(
                id=f"{thread_id}-{response['id']}",
                thread_id=thread_id,
                text=answer.text,
                created_at=response["created_at"] * 1000,
                score=len(days),
                up_days=tuple(sorted(days)),
                down_days=(),
                **common,
            )
        )
    ordered = sorted(responses, key=lambda post: (post.created_at, post.id))
    return Thread(prompt=prompt, responses=tuple(ordered))


def write_world(folder: Path, world: World, *, judged: int = 2000) -> None:
    """Write the forum, the truth and the arms."""
    folder.mkdir(parents=True, exist_ok=True)
    words = make_words(np.random.default_rng([world.seed, 9]))
    with (folder / "threads.jsonl").open("w", encoding="utf-8") as file:
        for number, thread in enumerate(make_threads(world, words, stream=0, count=world.threads)):
            file.write(json.dumps(as_row(number, *thread)) + "\n")
    with (folder / "truth.jsonl").open("w", encoding="utf-8") as file:
        for number, (asked, answers, _) in enumerate(
            make_threads(world, words, stream=1, count=judged)
        ):
            better, worse = sorted(answers[:2], key=lambda answer: -answer.quality)
            row = {"prompt": f"{number} {asked}", "chosen": better.text, "rejected": worse.text}
            file.write(json.dumps(row) + "\n")
    (folder / "arms.toml").write_text(arms(folder), encoding="utf-8")


def arms(folder: Path, modes: tuple[str, ...] = ("net_votes", "common_window", "debiased")) -> str:
    """The file of arms, judged by the truth."""
    made = "".join(f'\n[[arms]]\nname = "{mode}"\nvotes = "{mode}"\n' for mode in modes)
    return (
        f'input = ["threads={folder / "threads.jsonl"}"]\n'
        '[curate]\nlanguages = ["all"]\ndedup = "off"\n'
        '[train]\nmodel = "words"\nseeds = 5\n'
        f'{made}\n[[suites]]\nname = "truth"\nbenchmark = "pairs"\n'
        f'path = "{folder / "truth.jsonl"}"\n'
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True)
    for name, value in World()._asdict().items():
        parser.add_argument(f"--{name}", type=type(value), default=value)
    parser.add_argument("--judged", type=int, default=2000, help="pairs of the truth")
    given = vars(parser.parse_args())
    output, judged = given.pop("output"), given.pop("judged")
    write_world(output, World(**given), judged=judged)
    print(f"forumprefs ablate {output / 'arms.toml'} --output {output / 'ablate'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
