"""Speed and memory of reading Reddit dumps, against bare loops over the same file.

    python -m benchmarks.reddit_reading [--records 300000] [--rounds 5] [--memory-mb 1500]

Generates comments in the shape of 2019 (a seeded text, four in ten reply to the submission),
compresses them with zstd and reads them, in turn, with: python-zstandard's stream and a bare loop
over its lines (`lines`); that and msgspec's parser, to dictionaries (`msgspec`), or the standard
library's (`json`); `read_reddit` as a run does it by default, with replies to comments rejected
(`read`); the same with every comment made a Post (`read_all`); cutting the file into blocks of
lines (`cut`), which is what one worker does where others parse them, and cutting and parsing
(`blocks`). Quoted are MB of JSON per second of processor time, medians, and ratios of them.

Then a process of its own reads a file of `--memory-mb` MB of JSON and prints its memory on the
way. It must stay under ALLOWANCE_MB. The file is read once more, compressed with the largest
window as the real dumps are: their reader must hold the window, so there it grows up to 2 GiB.
"""

import argparse
import io
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import zstandard

from schemas.audit import Rejected
from transforms.readers.base import ForumFile, ReadRules
from transforms.readers.formats.line_blocks import cut_lines
from transforms.readers.reddit.reader import read_reddit, read_reddit_block

SEED = 20190601
ALLOWANCE_MB = 300
WORDS = 20_000
TOP_LEVEL = 0.4
LARGEST_WINDOW_LOG = 31
BLOCK_RECORDS = 20_000
SAMPLES = 8


def vocabulary(rng: random.Random) -> list[str]:
    letters = "eeeeaaiioonnttrrsslldcumphgbfyw"
    return ["".join(rng.choices(letters, k=rng.randint(1, 10))) for _ in range(WORDS)]


def comment(rng: random.Random, words: list[str], weights: list[float], number: int) -> Any:
    """A comment with the fields of June 2019, in their order."""
    text = " ".join(rng.choices(words, cum_weights=weights, k=1 + int(rng.expovariate(1 / 32))))
    if rng.random() < 0.1:
        text = f"&gt; {text}\n\n{text[::-1]} &amp; more"
    if rng.random() < 0.07:
        text = rng.choice(("[deleted]", "[removed]"))
    created = 1_559_347_200 + number // 50
    link = f"t3_{number // 40 + 10**9:x}"
    id = f"{number + 10**10:x}"
    subreddit = rng.choices(words, cum_weights=weights)[0] + "s"
    return {
        "all_awardings": [],
        "author": f"{rng.choice(words)}_{rng.randrange(10**4)}",
        "author_created_utc": created - rng.randrange(10**8),
        "author_flair_background_color": None,
        "author_flair_css_class": None,
        "author_flair_richtext": [],
        "author_flair_template_id": None,
        "author_flair_text": rng.choice((None, None, None, words[number % WORDS])),
        "author_flair_text_color": None,
        "author_flair_type": "text",
        "author_fullname": f"t2_{rng.randrange(10**11):x}",
        "author_patreon_flair": False,
        "body": text,
        "can_gild": True,
        "can_mod_post": False,
        "collapsed": False,
        "collapsed_reason": None,
        "controversiality": 0,
        "created_utc": created,
        "distinguished": None,
        "edited": created + 300 if rng.random() < 0.03 else False,
        "gilded": 0,
        "gildings": {},
        "id": id,
        "is_submitter": rng.random() < 0.1,
        "link_id": link,
        "locked": False,
        "no_follow": True,
        "parent_id": link if rng.random() < TOP_LEVEL else f"t1_{number + 10**10 - 7:x}",
        "permalink": f"/r/{subreddit}/comments/{link[3:]}/{'_'.join(words[:6])}/{id}/",
        "quarantined": False,
        "removal_reason": None,
        "retrieved_on": created + 40 * 86_400,
        "score": int(rng.paretovariate(1.1)) - rng.randrange(3),
        "send_replies": True,
        "stickied": False,
        "subreddit": subreddit,
        "subreddit_id": f"t5_{rng.randrange(10**7):x}",
        "subreddit_name_prefixed": f"r/{subreddit}",
        "subreddit_type": "public",
        "total_awards_received": 0,
    }


def json_lines(records: int) -> Iterator[bytes]:
    """Blocks of lines, the same on every call."""
    rng = random.Random(SEED)
    words = vocabulary(rng)
    # Zipf's law, as in real texts, so that the compressed size is like that of a real dump.
    weights: list[float] = []
    for rank in range(1, WORDS + 1):
        weights.append((weights[-1] if weights else 0.0) + 1 / rank)
    encoder = msgspec.json.Encoder()
    for start in range(0, records, BLOCK_RECORDS):
        numbers = range(start, min(start + BLOCK_RECORDS, records))
        yield encoder.encode_lines([comment(rng, words, weights, number) for number in numbers])


def write(path: Path, blocks: Iterator[bytes], window_log: int | None = None) -> int:
    """Compress ``blocks`` as one frame; returns their size in bytes."""
    if window_log is None:
        compressor = zstandard.ZstdCompressor(level=3)
    else:
        # Long-distance matching finds what is far back; without it the window would be unused.
        parameters = zstandard.ZstdCompressionParameters.from_level(
            1, window_log=window_log, enable_ldm=True
        )
        compressor = zstandard.ZstdCompressor(compression_params=parameters)
    size = 0
    with path.open("wb") as file, compressor.stream_writer(file) as writer:
        for block in blocks:
            size += len(block)
            writer.write(block)
    return size


def input_file(path: Path) -> ForumFile:
    return ForumFile(kind="reddit", site="", path=str(path), size=path.stat().st_size)


def lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        decompressor = zstandard.ZstdDecompressor(max_window_size=1 << LARGEST_WINDOW_LOG)
        stream = decompressor.stream_reader(file, read_across_frames=True)
        yield from io.BufferedReader(stream, 1 << 20)


def read_lines(path: Path) -> int:
    return sum(1 for _ in lines(path))


def read_msgspec(path: Path) -> int:
    decode = msgspec.json.Decoder().decode
    return sum(1 for line in lines(path) if decode(line))


def read_json(path: Path) -> int:
    return sum(1 for line in lines(path) if json.loads(line))


def read(path: Path) -> int:
    return sum(1 for _ in read_reddit(input_file(path), ReadRules()))


def read_all(path: Path) -> int:
    items = read_reddit(input_file(path), ReadRules(reply_depth=10))
    return sum(1 for item in items if not isinstance(item, Rejected))


def cut(path: Path) -> int:
    *_, last = cut_lines(input_file(path))
    return last.lines_before + last.content().count(b"\n")


def read_blocks(path: Path) -> int:
    file, rules = input_file(path), ReadRules()
    return sum(1 for block in cut_lines(file) for _ in read_reddit_block(file, block, rules))


READERS: dict[str, Callable[[Path], int]] = {
    "lines": read_lines,
    "msgspec": read_msgspec,
    "json": read_json,
    "read": read,
    "read_all": read_all,
    "cut": cut,
    "blocks": read_blocks,
}


def measure_speed(folder: Path, records: int, rounds: int) -> None:
    path = folder / "RC_2019-06.zst"
    size = write(path, json_lines(records))
    print(
        f"{records} comments, {size / 1e6:.0f} MB of JSON, "
        f"{path.stat().st_size / 1e6:.0f} MB compressed"
    )
    seconds: dict[str, list[float]] = {name: [] for name in READERS}
    for _ in range(rounds):
        for name, reader in READERS.items():
            start = time.process_time()
            found = reader(path)
            seconds[name].append(time.process_time() - start)
            assert found == records, f"{name}: {found} records of {records}"
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    print(f"{'':10}{'MB/s':>8}{'us each':>9}{'to lines':>10}{'to msgspec':>12}{'to json':>9}")
    for name, median in medians.items():
        ratios = [medians[other] / median for other in ("lines", "msgspec", "json")]
        print(
            f"{name:10}{size / 1e6 / median:8.0f}{median / records * 1e6:9.2f}"
            f"{ratios[0]:10.2f}{ratios[1]:12.2f}{ratios[2]:9.2f}"
        )


def rss_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def sample_memory(path: Path, records: int) -> None:
    """Read ``path`` and print the memory of this process at SAMPLES points, in MB."""
    every = records // SAMPLES
    samples = [rss_mb()]
    for number, _ in enumerate(read_reddit(input_file(path), ReadRules()), 1):
        if number % every == 0:
            samples.append(rss_mb())
    print(json.dumps(samples))


def measure_memory(folder: Path, megabytes: int) -> bool:
    block = b"".join(json_lines(BLOCK_RECORDS))
    copies = max(1, round(megabytes * 1e6 / len(block)))
    peak = 0.0
    for name, window_log in (("usual", None), ("largest", LARGEST_WINDOW_LOG)):
        path = folder / f"RC_{name}.zst"
        size = write(path, (block for _ in range(copies)), window_log)
        command = [sys.executable, "-m", __spec__.name, "--sample", str(path)]
        command += ["--records", str(copies * BLOCK_RECORDS)]
        result = subprocess.run(command, check=True, capture_output=True, text=True)
        samples = json.loads(result.stdout)
        path.unlink()
        print(
            f"{name} window, {size / 1e6:.0f} MB of JSON: before reading {samples[0]:.0f} MB, "
            f"then {', '.join(f'{sample:.0f}' for sample in samples[1:])} MB"
        )
        if window_log is None:
            peak = max(samples)
    kept = peak <= ALLOWANCE_MB
    print(f"peak with the usual window: {peak:.0f} MB of {ALLOWANCE_MB} MB allowed")
    return kept


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory-mb", type=int, default=1500, help="0: do not measure memory")
    parser.add_argument("--sample", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.sample:
        sample_memory(options.sample, options.records)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        measure_speed(Path(folder), options.records, options.rounds)
        kept = not options.memory_mb or measure_memory(Path(folder), options.memory_mb)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
