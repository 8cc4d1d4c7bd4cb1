"""A command of ``forumprefs``: what the command line has to know before it loads it.

Every command is a :class:`Command`, whichever layer it belongs to, and setup.py names each under
the entry points ``forumprefs.commands``. So a command is added without touching the command line,
and none waits for what only another one imports.
"""

import argparse
import importlib
from dataclasses import dataclass
from typing import Any, Protocol, cast

ENTRY_POINTS = "forumprefs.commands"
"""Group of entry points, one for each command; each leads to a :class:`Command`."""


class CommandModule(Protocol):
    """What the module of a command defines."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments, and its epilog, to its parser."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Run the command and return its exit code."""


@dataclass(frozen=True)
class Command:
    """One command; loads nothing until it is used."""

    name: str
    help: str
    """What it does, in the list of commands; without a full stop."""
    module: str
    """Name of its :class:`CommandModule`."""
    description: str = ""
    """What it does, above its own options (default: ``help`` as a sentence)."""
    takes_rest: bool = False
    """Whether it takes arguments that its parser does not know; they are ``arguments.rest``."""

    prints: bool = False
    """Whether it is for what it prints, so that it fails where that cannot be written."""

    unused: tuple[str, ...] = ()
    """Packages that its libraries would load where they are installed, and that it never uses."""

    def load(self) -> CommandModule:
        """Import the module of the command."""
        return cast(CommandModule, importlib.import_module(self.module))

    def run(self, arguments: argparse.Namespace) -> int:
        """Run the command and return its exit code."""
        return self.load().run(arguments)

    def add_to(self, commands: Any, *, with_arguments: bool = True) -> None:
        """Add a parser to the subparsers ``commands``; what it parses has ``command``, this one.

        Without ``with_arguments`` the command is only listed, and its module not imported.
        """
        parser = commands.add_parser(
            self.name,
            help=self.help,
            description=self.description or f"{self.help[0].upper()}{self.help[1:]}.",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        parser.set_defaults(command=self)
        if with_arguments:
            self.load().add_arguments(parser)
