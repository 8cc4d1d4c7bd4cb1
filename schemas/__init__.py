"""Rows and their Arrow schemas: the ground floor, which imports nothing above it."""
