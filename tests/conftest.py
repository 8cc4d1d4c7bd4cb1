"""Settings of all tests."""

from hypothesis import settings

# The same examples on every run: a change is judged by what it changed. Look for new
# counterexamples with `pytest --hypothesis-profile=default`.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
