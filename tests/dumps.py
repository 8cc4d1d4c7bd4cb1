"""Where the real dumps are, for tests that skip without them."""

from pathlib import Path

import pytest

DUMPS = Path(__file__).parents[2] / "shared" / "data" / "stackexchange"

needs_dumps = pytest.mark.skipif(
    not DUMPS.is_dir(), reason="real StackExchange dumps are not beside this checkout"
)
