"""Readers of the public preference suites, one module a family."""
