"""Beam looks at each function of a pipeline once, instead of some ten times per step.

That is half of what our small pipelines cost. What Beam refuses is still refused: nothing is known
about a function, or about a class of DoFns, before Beam has looked at it.
"""

import functools
import sys
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any
from weakref import WeakKeyDictionary


def look_once() -> None:
    """Do it from now on, in this process, if Beam is loaded."""
    if "apache_beam" not in sys.modules:
        return
    from apache_beam.transforms import core, userstate
    from apache_beam.typehints import decorators

    userstate.get_dofn_specs = _once_per_class(userstate.get_dofn_specs)
    core.get_function_args_defaults = _once_per_function(core.get_function_args_defaults)
    core._check_fn_use_yield_and_return = _once_per_function(core._check_fn_use_yield_and_return)
    decorators.get_signature = _once_per_function(decorators.get_signature)
    hints = decorators.IOTypeHints
    hints.from_callable = staticmethod(_once_per_function(hints.from_callable))


def _once_per_function(look: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Remember what ``look`` finds out about a function, or about a method of any object."""
    found: WeakKeyDictionary[FunctionType, dict[type, Any]] = WeakKeyDictionary()

    @functools.wraps(look)
    def remembered(function: Any) -> Any:
        plain = function.__func__ if isinstance(function, MethodType) else function
        if not isinstance(plain, FunctionType):
            return look(function)
        known = found.setdefault(plain, {})
        if type(function) not in known:  # a method has one argument less than its function
            known[type(function)] = look(function)
        return known[type(function)]

    return remembered


def _once_per_class(look: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Remember what ``look`` finds out about the methods of a DoFn."""
    found: dict[type, Any] = {}

    @functools.wraps(look)
    def remembered(dofn: Any) -> Any:
        if isinstance(vars(dofn).get("process"), MethodType):  # another object's, in beam.Map
            return look(dofn)
        if type(dofn) not in found:
            found[type(dofn)] = look(dofn)
        return found[type(dofn)]

    return remembered
