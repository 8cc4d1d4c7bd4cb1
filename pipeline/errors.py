"""The error for what a user can mend."""


class UsageError(Exception):
    """A command line that cannot be run; the message is for the user."""
