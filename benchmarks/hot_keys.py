"""What one huge thread and one text posted everywhere cost, and whether that grows with the square.

    python -m benchmarks.hot_keys

Each case runs at a quarter of its size and at its full size, each in a process of its own; work
that is linear takes four times as long. Processor seconds of the steps that see the hot key as
one unit, and the peak memory of the process.
"""

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from schemas.post import Post, Thread
from transforms.dedup.components import stars
from transforms.dedup.find_duplicates import bucket_rows, find_candidates
from transforms.dedup.minhash import MinHashRules
from transforms.dedup.verify import apply_matches, verify_group
from transforms.filters import FilterRules, filter_thread
from transforms.pairing import PairingRules, pair_thread
from transforms.pairing.pair_threads import SplitThread

SITE = "hot.example.com"
BATCH = 256


def post(number: int, thread: int, text: str, parent: int | None = None) -> Post:
    """A question where number and thread are the same, else an answer to it."""
    return Post(
        id=f"{SITE}:{number}",
        thread_id=f"{SITE}:{thread}",
        parent_id=None if parent is None else f"{SITE}:{parent}",
        source="stackexchange",
        site=SITE,
        url=f"https://{SITE}/{number}",
        title="A question" if number == thread else "",
        text=text,
        markup="markdown",
        created_at=1_600_000_000_000 + number * 60_000,
        score=number % 97,
        author_id=f"{SITE}:u{number}",
        author="",
        author_url=None,
        license="CC-BY-SA-4.0",
    )


def words(seed: int, number: int) -> str:
    return " ".join(f"w{n}" for n in np.random.default_rng(seed).integers(0, 50_000, number))


def one_thread(answers: int) -> None:
    """A question with so many answers, of which one in four is a copy."""
    texts = [words(number if number % 4 else 0, 40) for number in range(answers)]
    thread = Thread(
        prompt=post(1, 1, words(1, 60)),
        responses=tuple(post(number + 2, 1, text) for number, text in enumerate(texts)),
    )
    kept = filter_thread(thread, FilterRules()).thread
    assert kept is not None
    matches = find_and_verify([kept])
    left = apply_matches(kept, matches).thread
    assert left is not None
    for rules in (PairingRules(), replace(PairingRules(), max_pairs_per_thread=0)):
        paired, _ = pair_thread(SplitThread(thread=left, split="train"), rules)
        assert paired is not None


def replies(posts: int) -> None:
    """A question with one answer that so many replies follow, each to the one before."""
    thread = Thread(
        prompt=post(1, 1, words(1, 60)),
        responses=tuple(
            post(number + 2, 1, f"reply {number}: {words(7, 20)}", number + 1 if number else None)
            for number in range(posts)
        ),
    )
    kept = filter_thread(thread, FilterRules()).thread
    if kept is not None:
        pair_thread(SplitThread(thread=kept, split="train"), PairingRules())


def copies(threads: int) -> None:
    """The same answer in so many threads."""
    boilerplate = words(3, 80)
    find_and_verify([_thread(n, boilerplate) for n in range(threads)])


def near_copies(threads: int) -> None:
    """An answer in so many threads, each time with one word that is nowhere else."""
    boilerplate = words(3, 80)
    find_and_verify([_thread(n, f"{boilerplate} unique{n}") for n in range(threads)])


def _thread(number: int, text: str) -> Thread:
    first = number * 2 + 1
    return Thread(
        prompt=post(first, first, f"question {number}"), responses=(post(first + 1, first, text),)
    )


def find_and_verify(threads: list[Thread]) -> dict:
    """Deduplication of one component, with the project's functions and no runner."""
    rules = MinHashRules()
    posts = [one for thread in threads for one in thread.responses]
    rows = np.concatenate(
        [bucket_rows(posts[start : start + BATCH], rules) for start in range(0, len(posts), BATCH)]
    )
    edges, _ = stars(rows[:, 0], rows[:, 1])
    root = int(edges[:, 1].min())
    nodes = np.unique(edges)
    table = np.stack([nodes, np.full(len(nodes), root)], axis=1)
    candidates = list(find_candidates(threads, table, rules))
    return {match.removed_id: match for match in verify_group(candidates, rules.threshold)}


CASES: dict[str, tuple[Callable[[int], object], int]] = {
    "one thread of answers": (one_thread, 100_000),
    "one chain of replies": (replies, 100_000),
    "one text in many threads": (copies, 300_000),
    "one text, a word different": (near_copies, 300_000),
}


def main() -> None:
    """Measure every case, or be one measurement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", choices=CASES, action="append")
    parser.add_argument("--share", type=float, default=1.0, help="of the full size")
    parser.add_argument("--run", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    names = arguments.case or list(CASES)
    if arguments.run:
        began = time.process_time()
        CASES[names[0]][0](arguments.run)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(time.process_time() - began, peak * 1024)
        return
    print("| case | size | CPU s at a quarter | CPU s | growth (4 is linear) | peak MB |")
    print("|---|---:|---:|---:|---:|---:|")
    for name in names:
        size = int(CASES[name][1] * arguments.share)
        small, _ = _measure(name, size // 4)
        seconds, peak = _measure(name, size)
        growth = seconds / small
        print(
            f"| {name} | {size:,} | {small:.1f} | {seconds:.1f} | {growth:.1f} "
            f"| {peak / 1e6:,.0f} |",
            flush=True,
        )


def _measure(name: str, size: int) -> tuple[float, float]:
    command = [sys.executable, "-m", "benchmarks.hot_keys", "--case", name, "--run", str(size)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    seconds, peak = map(float, done.stdout.split()[-2:])
    return seconds, peak


if __name__ == "__main__":
    main()
