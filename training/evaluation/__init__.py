"""Scores reward models on public suites and on held-out votes, and says what the numbers mean."""
