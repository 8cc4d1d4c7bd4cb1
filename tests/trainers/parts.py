"""Modules of trainers whose packages load what only a GPU has, imported by themselves.

The packages above a module are made bare, without running their ``__init__``, and the modules named
in ``stubs`` are empty but for the given names. What is tested is the module that reads a row.
"""

import importlib
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import pytest

SITE = Path(sysconfig.get_path("purelib"))


def part(name: str, stubs: Mapping[str, Mapping[str, Any]] = MappingProxyType({})) -> ModuleType:
    """Import a module; skip where its package is not installed. The stubs are gone afterwards."""
    package = name.partition(".")[0]
    if not (SITE / package).is_dir():
        pytest.skip(f"{package} has no package for this Python or machine")
    if name in sys.modules:
        return sys.modules[name]
    added = []
    for stub, values in stubs.items():
        for module in _parents(f"{stub}."):
            if module not in sys.modules:
                sys.modules[module] = _bare(module, [])
                added.append(module)
        vars(sys.modules[stub]).update(values)
    for above in _parents(name):
        sys.modules.setdefault(above, _bare(above, [str(SITE.joinpath(*above.split(".")))]))
    try:
        return importlib.import_module(name)
    finally:
        for module in added:
            del sys.modules[module]


def _parents(name: str) -> list[str]:
    words = name.split(".")
    return [".".join(words[:count]) for count in range(1, len(words))]


def _bare(name: str, path: list[str]) -> ModuleType:
    module = ModuleType(name)
    module.__path__ = path
    return module
