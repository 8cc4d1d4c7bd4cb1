"""Keep rates and speed of the language step on real StackExchange dumps.

    python -m benchmarks.language PATH [PATH ...] [--languages en]

A PATH is a Posts.xml, a folder that holds some, or a .7z archive of a site. Prints, for a made-up
bilingual forum, which posts are kept or refused wrongly, and per
site, which share of posts stays, what the refused posts were taken for, and the speed of
each part; and how often both identifiers agree on a sample.
"""

import argparse
import itertools
import tempfile
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bilingual_forum import forum
from schemas.audit import Reason
from schemas.post import Post, Thread, prompt_text
from transforms.filters.identifiers import LanguageIdentifier, load_identifier
from transforms.filters.language import LanguageRules, guess_by_samples, label_threads
from transforms.filters.prose_text import FIRST_SAMPLE_CHARS, prose, prose_chars, sample
from transforms.text.markdown import html_to_markdown

THREADS_PER_CALL = 200


def sites(path: Path) -> Iterator[tuple[str, list[Thread]]]:
    """Name and threads of each Posts.xml; threads with fewer than two answers too."""
    if path.is_dir():
        for inner in sorted(path.rglob("Posts.xml")):
            yield from sites(inner)
    elif path.suffix == ".7z":
        import py7zr

        with tempfile.TemporaryDirectory() as folder, py7zr.SevenZipFile(path) as archive:
            archive.extract(Path(folder) / path.stem, targets=["Posts.xml"])
            yield from sites(Path(folder))
    else:
        yield path.parent.name, threads_of(path)


def threads_of(path: Path) -> list[Thread]:
    posts: dict[str, list[Post]] = {}
    for _, row in ET.iterparse(path):
        if row.get("PostTypeId") in ("1", "2"):
            thread_id = row.get("ParentId", row.attrib["Id"])
            post = Post(
                id=row.attrib["Id"],
                thread_id=thread_id,
                source="stackexchange",
                site=path.parent.name,
                url="",
                title=row.get("Title", ""),
                text=html_to_markdown(row.get("Body", "")),
                created_at=0,
                score=0,
                license="",
            )
            posts.setdefault(thread_id, []).append(post)
        row.clear()
    return [
        Thread(prompt=prompt, responses=tuple(post for post in group if post is not prompt))
        for group in posts.values()
        if (prompt := next((post for post in group if post.is_prompt), None))
    ]


def report_keep_rates(
    threads: list[Thread], identifier: LanguageIdentifier, rules: LanguageRules
) -> None:
    start = time.process_time()
    refused: Counter[str] = Counter()
    for at in range(0, len(threads), THREADS_PER_CALL):
        for outcome in label_threads(threads[at : at + THREADS_PER_CALL], identifier, rules):
            refused.update(
                row.detail.split()[0] + (" (improbable)" if improbable(row.detail, rules) else "")
                for row in outcome.rejected
                if row.reason == Reason.LANGUAGE
            )
    seconds = time.process_time() - start
    posts = sum(1 + len(thread.responses) for thread in threads)
    share = 1 - refused.total() / max(1, posts)
    print(f"  all steps: {posts / seconds:,.0f} posts/s; {share:.2%} of {posts:,} posts pass")
    print(f"  refused: {dict(refused.most_common(8))}")


def improbable(detail: str, rules: LanguageRules) -> bool:
    return float(detail.split()[1]) < rules.min_probability


def report_bilingual(identifier: LanguageIdentifier, threads: int) -> None:
    """Keep rates on a made-up forum whose posts' languages are known."""
    made = forum(threads, seed=1)
    posts: Counter[tuple[str, str]] = Counter()
    wrong: Counter[tuple[str, str]] = Counter()
    rules = LanguageRules(languages=None)
    outcomes = label_threads([thread for thread, _ in made], identifier, rules)
    for (_, written), outcome in zip(made, outcomes, strict=True):
        assert outcome.thread is not None
        found = [post.language for post in (outcome.thread.prompt, *outcome.thread.responses)]
        for (language, kind), label in zip(written, found, strict=True):
            english = (language or written[0].language) == "en"
            key = (kind, "English" if english else "other")
            posts[key] += 1
            wrong[key] += (label == "en") != english
    print(f"a made-up bilingual forum of {posts.total():,} posts")
    for key, count in sorted(posts.items()):
        what = "refused" if key[1] == "English" else "kept"
        print(f"  {key[0]:<15} {key[1]:<8} {count:>6,} posts, {wrong[key]:>5,} {what}")


def report_parts(
    threads: list[Thread], identifier: LanguageIdentifier, rules: LanguageRules
) -> list[str]:
    texts = [prompt_text(thread.prompt) for thread in threads]
    texts += [post.text for thread in threads for post in thread.responses]
    start = time.process_time()
    proses = [prose(text) for text in texts]
    middle = time.process_time()
    labels = identifier.identify([sample(words) for words in proses])
    end = time.process_time()
    print(
        f"  prose: {len(texts) / (middle - start):,.0f} posts/s; "
        f"identify: {len(texts) / (end - middle):,.0f} posts/s"
    )
    judged = [words for words in proses if prose_chars(words) >= rules.min_prose_chars]
    pieces = identifier.identify([sample(words) for words in judged])
    whole = identifier.identify(judged)
    differ = sum(_code(a, rules) != _code(b, rules) for a, b in zip(pieces, whole, strict=True))
    print(f"  labels from the sampled pieces and the whole differ: {differ} of {len(judged)}")
    twice = guess_by_samples(judged, identifier, rules)
    differ = sum(_code(a[:2], rules) != _code(b, rules) for a, b in zip(twice, pieces, strict=True))
    again = sum(len(guess.text) > FIRST_SAMPLE_CHARS + 2 for guess in twice)
    print(f"  from a short sample first and those pieces: {differ}; {again} were looked at again")
    bounds = (0, 20, rules.min_prose_chars, 100, 200, 500, 1 << 60)
    for low, high in itertools.pairwise(bounds):
        inside = [
            code in (rules.languages or (code,)) and probability >= rules.min_probability
            for words, (code, probability) in zip(proses, labels, strict=True)
            if low <= len(words) < high
        ]
        if inside:
            name = f"{low} or more" if high == bounds[-1] else f"{low} to {high - 1}"
            passed = sum(inside) / len(inside)
            print(f"    {name:>12} characters: {len(inside):>6,} posts, {passed:7.2%} pass alone")
    return proses


def _code(found: tuple[str, float], rules: LanguageRules) -> str:
    return found[0] if found[1] >= rules.min_probability else "und"


def report_agreement(proses: list[str], rules: LanguageRules, seen: int) -> None:
    long = [sample(words) for words in proses if prose_chars(words) >= rules.min_prose_chars]
    chosen = long[:: max(1, len(long) // seen)][:seen]
    start = time.process_time()
    second = load_identifier("langdetect").identify(chosen)
    seconds = time.process_time() - start
    first = load_identifier("fasttext").identify(chosen)
    same = sum(a[0] == b[0] for a, b in zip(first, second, strict=True))
    print(
        f"  fasttext and langdetect agree on {same} of {len(chosen)}; "
        f"langdetect: {len(chosen) / seconds:,.0f} posts/s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="+", type=Path, help="Posts.xml, folder or .7z archive")
    parser.add_argument("--languages", default="en", help="codes to keep, with commas")
    parser.add_argument("--sample", type=int, default=200, help="posts that langdetect sees too")
    options = parser.parse_args()
    rules = LanguageRules(languages=tuple(options.languages.split(",")))
    identifier = load_identifier("fasttext")
    report_bilingual(identifier, 2_000)
    for path in options.paths:
        for site, threads in sites(path):
            print(site)
            report_keep_rates(threads, identifier, rules)
            report_agreement(report_parts(threads, identifier, rules), rules, options.sample)


if __name__ == "__main__":
    main()
