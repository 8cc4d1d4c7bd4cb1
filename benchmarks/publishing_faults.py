"""What comes of each fault while a version is published: outcome, moves of main, bytes sent.

    python -m benchmarks.publishing_faults

Runs the real command and the released client against the Hub on loopback of the tests, and prints
a Markdown table, the one in docs/publishing.md. ``main moved`` counts others' commits, too.
"""

import contextlib
import io
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from pipeline.dataset.folder import DatasetFolder
from tests.publishing import (
    MANY_SCENARIOS,
    PART,
    REPO,
    SAMPLES,
    SCENARIOS,
    Publisher,
    curated,
    kill_before_commit,
    publisher,
    shard_bytes,
)

OUTCOMES = {0: "published", 1: "failed; main as it was", 3: "refused"}


def row(user: Publisher, folder: Path, fault: str, outcome: str) -> str:
    """One line of the table, about what is at the Hub now."""
    sent = user.hub.bytes_received / shard_bytes(folder)
    tag = "whole" if "v1.0.0" in user.hub.tags(REPO) else "absent"
    if tag == "whole" and not user.is_whole(folder, "v1.0.0"):
        tag = "of others"
    waits = ", ".join(f"{wait:.0f}" for wait in user.waits) or "–"
    return f"| {fault} | {outcome} | {tag} | {user.main_moved()} | {sent:.2f} | {waits} |"


def rows(folder: Path, scenarios: Iterable[object]) -> Iterable[str]:
    """The lines of one dataset."""
    for scenario in scenarios:
        with publisher() as user:
            user.hub.create_repo(REPO)
            user.hub.faults.add(*(make() for make in scenario.faults))  # type: ignore[attr-defined]
            with contextlib.redirect_stderr(io.StringIO()):
                code = user.publish(folder, "v1.0.0", "--quiet")
        yield row(user, folder, scenario.name, OUTCOMES[code])  # type: ignore[attr-defined]


def killed(folder: Path, pattern: str) -> Iterable[str]:
    """The lines of a publisher that is killed, and of the next one."""
    with publisher() as user:
        kill_before_commit(user, folder, pattern)
        yield row(user, folder, "kill -9 before the commit", "killed; main as it was")
        user.publish(folder, "v1.0.0", "--quiet")
        yield row(user, folder, "… and run again", "published")


def at_once(folder: Path) -> str:
    """The line of three publishers of one version."""
    with publisher() as user:
        user.hub.create_repo(REPO)
        command = ("publish", str(folder), REPO, "--version", "v1.0.0", "--quiet")
        processes = [user.start(*command) for _ in range(3)]
        codes = [process.wait() for process in processes]
    outcome = "published" if codes == [0, 0, 0] else f"exit codes {codes}"
    return row(user, folder, "three publishers at once", outcome)


def main() -> None:
    """Print the table."""
    inputs = ("--input", f"stackexchange={SAMPLES}", "--input", f"threads={SAMPLES / 'threads'}")
    with tempfile.TemporaryDirectory() as scratch:
        sample = curated(Path(scratch, "sample"), "--shard-bytes", "30000")
        many = curated(Path(scratch, "many"), "--shard-bytes", "300", *inputs)
        for folder, scenarios, pattern in (
            (sample, SCENARIOS, r"/commit/main$"),
            (many, MANY_SCENARIOS, PART),
        ):
            shards = len(DatasetFolder(folder).manifest.shards)
            print(f"\n{shards} shards, {shard_bytes(folder):,} bytes\n")
            print("| fault | outcome | tag | main moved | bytes sent / dataset | waited, s |")
            print("|---|---|---|---:|---:|---|")
            for line in (*rows(folder, scenarios), *killed(folder, pattern), at_once(folder)):
                print(line, flush=True)
    # Threads of the client may outlive their work.
    os._exit(0)


if __name__ == "__main__":
    main()
