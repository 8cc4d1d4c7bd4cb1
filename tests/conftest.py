"""Settings of all tests."""

import os

from hypothesis import settings

# Tests run in several processes, whose threads would wait for each other; set before torch loads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples on every run: a change is judged by what it changed. Look for new
# counterexamples with `pytest --hypothesis-profile=default`.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
