"""Running out of memory, as the commands of training report it; loads no torch."""

import errno
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from training.errors import MemoryShortageError

_SIGNS = (
    "can't allocate memory",  # torch's allocator on a CPU
    "not enough memory",  # the same, on some systems
    "Cannot allocate memory",  # the system's own words
    "std::bad_alloc",
    "out of memory",  # CUDA
)
"""What the messages of allocators say; torch raises a plain RuntimeError on a CPU."""
_ASKED = re.compile(r"tried to allocate (\d+) bytes")


def what_ran_out(error: BaseException) -> str | None:
    """Return one line that says which memory was too small; None for an error of another kind.

    Of Python, NumPy and Arrow it is a MemoryError, of torch a RuntimeError: OutOfMemoryError on a
    GPU, on a CPU one that only its message tells from others.
    """
    text = str(error)
    if isinstance(error, MemoryError):
        return "out of memory" + (f": {text.splitlines()[0]}" if text else "")
    if isinstance(error, OSError):
        return f"out of memory: {error.strerror}" if error.errno == errno.ENOMEM else None
    if not isinstance(error, RuntimeError) or not any(sign in text for sign in _SIGNS):
        return None
    if asked := _ASKED.search(text):
        return f"out of memory: there are no {int(asked[1]) / 1e9:,.2f} GB more on this machine"
    line = next(line for line in text.splitlines() if any(sign in line for sign in _SIGNS))
    return line if line.lower().startswith("out of memory") else f"out of memory: {line}"


@contextmanager
def memory_errors(remedy: Callable[[], str]) -> Iterator[None]:
    """Raise MemoryShortageError with a remedy where memory runs out inside.

    ``remedy``: says what helps; asked only then, when what was being done is known.
    """
    try:
        yield
    except (MemoryError, OSError, RuntimeError) as error:
        what = what_ran_out(error)
        if what is None:
            raise
        raise MemoryShortageError(f"{what}\n{remedy()}") from error


def batch_remedy(batch_tokens: int, stays: str) -> str:
    """What helps a command with ``--batch-tokens``; ``stays``: what is the same after it."""
    if batch_tokens <= 16:
        return "Take a smaller model, or --precision bf16."
    return f"Try --batch-tokens {max(batch_tokens // 2, 16)}; {stays}."
