"""Write a StackExchange-format dump of any size: same options, same bytes.

    python -m benchmarks.generate_dump --posts 200000 --seed 1 --output DIR

writes ``DIR/<site>/{Posts,Votes,Users,PostLinks,PostHistory}.xml`` and ``planted.jsonl``, the
list of planted copies. Threads, times, votes and text only look like those of a forum. Memory
does not grow with the number of posts.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.dump_phrases import Inventions, Phrasebook
from benchmarks.dump_rows import TABLES, PostRows, Table, link_rows, user_rows, vote_rows
from benchmarks.dump_text import (
    CODE,
    LIST,
    ONE_LINE,
    ONLY_CODE,
    QUOTE,
    TABLE,
    Draft,
    Kind,
    compose,
    copy_draft,
)
from benchmarks.dump_threads import FIRST_DAY, LAST_DAY, draw_threads

CHUNK = 20_000
"""Posts made at a time. Threads do not cross chunks, and ids follow time only within one."""

SENTENCES = (np.log(9.4), 0.72)
"""Log-normal: a median of about 1,000 characters of text and a mean of about 1,300."""

ORIGINALS = 2_000
"""Posts per language and kind of post that wait to be copied."""

KIND_SHARES = {Kind.EXACT: 0.45, Kind.RESTYLED: 0.1, Kind.NEAR: 0.45}
BELOW_PER_COPY = 0.15
"""Posts that are like another one but not alike enough, per planted copy."""

EXTRA_SHARES = {
    CODE: 0.13,
    LIST: 0.15,
    QUOTE: 0.08,
    TABLE: 0.01,
    ONLY_CODE: 0.015,
    ONE_LINE: 0.01,
}


@dataclass(frozen=True)
class DumpOptions:
    """What to generate."""

    posts: int
    """Questions and answers together."""
    seed: int = 0
    site: str = "generated.example.com"
    duplicates: float = 0.08
    """Share of posts that are exact, restyled or near copies of earlier ones."""
    languages: dict[str, float] = field(
        default_factory=lambda: {"en": 0.92, "fr": 0.03, "es": 0.03, "de": 0.02}
    )
    """Shares of the threads."""


class Planted(NamedTuple):
    """One line of the ledger: post `id` is a copy of the earlier post `of`."""

    id: int
    of: int
    question: bool
    kind: Kind
    similarity: float
    """Jaccard of the sets of 5-word shingles of the visible texts, a question's with title."""

    def line(self) -> str:
        entry = {
            "id": self.id,
            "of": self.of,
            "post_type": "question" if self.question else "answer",
            "kind": self.kind.value,
            "similarity": round(self.similarity, 4),
        }
        return json.dumps(entry) + "\n"


def generate_dump(output: Path, options: DumpOptions) -> Counter[str]:
    """Write a dump to ``output/<site>`` and return how many rows of what were written."""
    folder = output / options.site
    folder.mkdir(parents=True, exist_ok=True)
    counts: Counter[str] = Counter()
    with ExitStack() as stack:
        tables = {name: stack.enter_context(Table(folder, name)) for name in TABLES}
        planted = stack.enter_context((folder / "planted.jsonl").open("w", encoding="utf-8"))
        writer = _Writer(options)
        for chunk in range(-(-options.posts // CHUNK)):
            ledger = writer.write_chunk(chunk, tables)
            planted.writelines(copy.line() for copy in ledger)
            counts.update(str(copy.kind) for copy in ledger)
        for rows in user_rows(writer.users, options.seed):
            tables["Users"].write(rows)
        counts.update({name: table.rows for name, table in tables.items()})
    return counts


class _Writer:
    """Carries ids and copyable posts from chunk to chunk."""

    def __init__(self, options: DumpOptions) -> None:
        self.options = options
        self.users = max(10, options.posts * 2 // 5)
        self._next_id = 1
        random = self._random(0)
        inventions = Inventions(random)
        self._books = {
            code: Phrasebook(code, share, inventions, random)
            for code, share in options.languages.items()
        }
        self._originals: dict[tuple[str, bool], list[tuple[int, Draft]]] = {
            (code, question): [] for code in options.languages for question in (False, True)
        }

    def _random(self, stream: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64([self.options.seed, stream]))

    def write_chunk(self, chunk: int, tables: dict[str, Table]) -> list[Planted]:
        """Write posts ``chunk * CHUNK`` and following; return the planted copies among them."""
        random = self._random(chunk + 1)
        first = chunk * CHUNK
        posts = min(CHUNK, self.options.posts - first)
        step = (LAST_DAY - FIRST_DAY) / self.options.posts
        start = FIRST_DAY + first * step
        threads = draw_threads(posts, start, start + posts * step, random)
        # Real ids have gaps where posts were deleted.
        ids = self._next_id + np.cumsum(1 + (random.random(posts) < 0.06)) - 1
        self._next_id = int(ids[-1]) + 1
        texts, ledger = self._write_texts(threads.parent, ids, random)
        rows = PostRows(threads, ids, self.users, random)
        tables["Posts"].write(rows.posts(texts))
        tables["PostHistory"].write(rows.history())
        tables["Votes"].write(vote_rows(threads, ids, tables["Votes"].rows))
        links = rows.links([(copy.id, copy.of) for copy in ledger if copy.kind != Kind.BELOW])
        tables["PostLinks"].write(link_rows(links, tables["PostLinks"].rows))
        return ledger

    def _write_texts(
        self, parent: np.ndarray, ids: np.ndarray, random: np.random.Generator
    ) -> tuple[list[tuple[str, str]], list[Planted]]:
        posts = len(ids)
        codes = list(self.options.languages)
        shares = np.array(list(self.options.languages.values()))
        of_thread = random.choice(len(codes), posts, p=shares / shares.sum())
        language = of_thread[np.where(parent >= 0, parent, np.arange(posts))].tolist()
        sentences = np.maximum(1, random.lognormal(*SENTENCES, posts)).astype(int).tolist()
        shapes = random.integers(0, 1 << 62, posts).tolist()
        extras = np.zeros(posts, np.int64)
        for extra, share in EXTRA_SHARES.items():
            extras |= np.where(random.random(posts) < share, extra, 0)
        # A question is never only code or one line.
        extras[parent < 0] &= CODE | LIST | QUOTE | TABLE
        kinds = self._kinds(posts, random)

        texts: list[tuple[str, str]] = []
        ledger: list[Planted] = []
        columns = (ids.tolist(), (parent < 0).tolist(), language, sentences, shapes, kinds)
        for post, question, lang, count, shape, kind, extra in zip(
            *columns, extras.tolist(), strict=True
        ):
            code = codes[lang]
            originals = self._originals[code, question]
            if kind is not None and originals:
                place = shape % len(originals)
                original, draft = originals[place]
                copy = copy_draft(draft, kind, self._books[code], random)
                if copy is not None:
                    # Most originals are copied once, some more often.
                    if kind is not Kind.BELOW and shape & 3:
                        originals[place] = originals[-1]
                        originals.pop()
                    texts.append((copy.draft.title, copy.draft.body))
                    ledger.append(Planted(post, original, question, kind, copy.similarity))
                    continue
            draft = compose(
                self._books[code], question=question, sentences=count, shape=shape, extras=extra
            )
            texts.append((draft.title, draft.body))
            if len(originals) < ORIGINALS and not extra & (ONE_LINE | ONLY_CODE):
                originals.append((post, draft))
        return texts, ledger

    def _kinds(self, posts: int, random: np.random.Generator) -> list[Kind | None]:
        """Draw which posts are to be copies, and of which kind."""
        share = self.options.duplicates
        weights = [share * KIND_SHARES.get(kind, BELOW_PER_COPY) for kind in Kind]
        bounds = np.cumsum(weights)
        choices: list[Kind | None] = [*Kind, None]
        picks = np.searchsorted(bounds, random.random(posts), side="right").tolist()
        return [choices[pick] for pick in picks]


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and generate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Formatter)
    parser.add_argument("--posts", type=int, required=True, help="questions and answers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True, help="folder of the site's folder")
    parser.add_argument("--site", default=DumpOptions.site)
    parser.add_argument(
        "--duplicates",
        type=float,
        default=DumpOptions.duplicates,
        help="share of posts that are copies of earlier ones",
    )
    args = parser.parse_args(arguments)
    options = DumpOptions(args.posts, args.seed, args.site, args.duplicates)
    start = time.perf_counter()
    counts = generate_dump(args.output, options)
    seconds = time.perf_counter() - start
    for name, count in counts.items():
        print(f"{count:>12,} {name}")
    print(f"{args.posts / seconds:>12,.0f} posts/s")


class _Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    pass


if __name__ == "__main__":
    main()
