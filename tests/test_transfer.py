"""Progress of transfers, tasks in threads, and retries at the Hub."""

import io
import threading
import time

import pytest

from pipeline.console import display
from pipeline.console.text import readable_size
from pipeline.console.transfer import TransferProgress
from pipeline.errors import HubError, RefusedError, Throttled
from pipeline.hub.parallel import in_parallel
from pipeline.hub.retries import hub_retry_policy, retry_at_hub


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_on_a_terminal() -> None:
    stream = Terminal()
    with TransferProgress("upload", stream=stream) as progress:
        progress.begin(2_000_000, 4)
        progress.advance(1_000_000, 2)
        progress.say("a remark [not markup] \x1b[2J")
        progress.advance(1_000_000, 2)
    shown = stream.getvalue()
    assert "upload 4 of 4 shards" in shown and "2.0/2.0 MB" in shown
    assert "a remark [not markup]" in shown and "\x1b[2J" not in shown


def test_lines_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    with TransferProgress("upload", stream=stream) as progress:
        progress.begin(4_000_000, 4)
        now[0] = 5.0
        progress.advance(1_000_000, 1)
        now[0] = 20.0
        progress.advance(1_000_000, 1)
    assert stream.getvalue().splitlines() == [
        "upload: 4.0 MB in 4 shards",
        "[   20 s] upload 2 of 4 shards, 2.0 MB of 4.0 MB, 20 s left",
    ]


def test_bytes_alone() -> None:
    stream = Terminal()
    with TransferProgress("check", stream=stream) as progress:
        progress.begin(2_000_000, 0)
        progress.advance(2_000_000, 0)
    assert "2.0/2.0 MB" in stream.getvalue() and "shards" not in stream.getvalue()


def test_quiet_is_quiet() -> None:
    stream = Terminal()
    with TransferProgress("upload", quiet=True, stream=stream) as progress:
        progress.begin(1, 1)
        progress.advance(1, 1)
        progress.say("x")
    assert stream.getvalue() == ""


def test_sizes() -> None:
    assert [readable_size(n) for n in (0, 99_999, 161_434)] == ["0 bytes", "99,999 bytes", "0.2 MB"]


def test_the_first_failure_ends_the_rest() -> None:
    done: list[int] = []
    begun = threading.Event()

    def slow() -> None:
        begun.set()
        time.sleep(0.1)
        done.append(1)

    def fails() -> None:
        begun.wait()
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        in_parallel(2, [slow, fails])
    assert done == [1], "what had begun was waited for"


def waits_of(*errors: HubError | None, **options: int) -> list[float]:
    waits: list[float] = []
    left = list(errors)

    def step() -> str:
        error = left.pop(0)
        if error is not None:
            raise error
        return "done"

    retries = hub_retry_policy(sleep=waits.append, **options)  # type: ignore[arg-type]
    assert retry_at_hub(retries, "it", step) == "done"
    return waits


def test_waits_grow_and_the_hub_s_word_counts() -> None:
    busy = HubError("busy", transient=True)
    assert waits_of(None) == []
    assert waits_of(*[busy] * 6, None) == [1, 2, 4, 8, 16, 30]
    assert waits_of(Throttled("slow", 12), Throttled("slow", 9_999), None) == [12, 330]
    assert waits_of(Throttled("slow", 0), None) == [1]


def test_what_is_given_up() -> None:
    with pytest.raises(HubError, match="busy; given up after 3 attempts"):
        waits_of(*[HubError("busy", transient=True)] * 3, max_attempts=3)
    for error in (HubError("no"), RefusedError("never")):
        with pytest.raises(type(error), match=str(error)):
            waits_of(error, None)


def test_progress_renews_the_attempts() -> None:
    retries = hub_retry_policy(sleep=lambda _: None, max_attempts=2)
    left = 5

    def step() -> str:
        nonlocal left
        left -= 1
        retries.reset()
        if left:
            raise HubError("busy", transient=True)
        return "done"

    assert retry_at_hub(retries, "it", step) == "done"

    def fails() -> None:
        raise HubError("busy", transient=True)

    with pytest.raises(HubError, match="given up after 2 attempts"):
        retry_at_hub(retries, "it", fails)
