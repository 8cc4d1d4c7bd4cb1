"""Wiring, options, writing out a run's results, and the command line."""
