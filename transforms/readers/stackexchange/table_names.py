"""The tables of a dump that are read, and the names of their files."""

TABLES = ("Posts", "Votes", "Users", "PostLinks", "PostHistory")
"""The tables that are read, of the eight in a dump."""


def table_of(name: str) -> str | None:
    """Return the table that a file name such as ``Posts.xml`` stands for, or None."""
    stem, dot, suffix = name.rpartition(".")
    if not dot or suffix.lower() != "xml":
        return None
    return next((table for table in TABLES if table.lower() == stem.lower()), None)
