"""Which options of a recipe hold for preference sets: those that a user asks for.

The defaults of filters, languages, votes and pairs are meant for forums, where nobody has judged
yet what is worth learning from.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from transforms.core import Option, OptionValues, Rule
from transforms.filters import FILTER_RULES
from transforms.pairing import PAIRING_OPTIONS

FILTER_OPTIONS: Final = tuple(rule for rule in FILTER_RULES if rule.option is not None)
LABEL_OPTIONS: Final = tuple(option for option in PAIRING_OPTIONS if option.option is not None)

SET_RULES: Final = (
    *(str(option.option) for option in FILTER_OPTIONS),
    "languages",
    *(str(option.option) for option in LABEL_OPTIONS),
)
"""Options that hold for preference sets only where they are asked for."""


def with_flags(values: Mapping[str, Any], flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a file with those of the command line over them.

    Options of the command line hold for preference sets, too, even where the file, such as a
    manifest, says which do.
    """
    merged = {**values, **flags}
    listed = values.get("pairs_rules")
    if listed is not None and "pairs_rules" not in flags:
        listed = listed.split(",") if isinstance(listed, str) else listed
        if isinstance(listed, list) and listed != ["all"]:
            kept = [name for name in listed if name != "none"]
            merged["pairs_rules"] = [*kept, *(_given(flags) - set(map(str, kept)))]
    return merged


def listed_for_sets(values: Mapping[str, Any]) -> Any:
    """The options for preference sets among the values of a recipe: as listed, else as given."""
    found = values.get("pairs_rules")
    if found is None:
        return sorted(_given(values))
    if found in (["all"], ["none"]):
        return sorted(SET_RULES) if found == ["all"] else []
    # What is no list of texts is for msgspec to refuse.
    is_list = isinstance(found, list | tuple) and all(isinstance(name, str) for name in found)
    return sorted(set(found)) if is_list else found


def _given(values: Mapping[str, Any]) -> set[str]:
    """The options for preference sets among the values; a preset is a choice of several."""
    chosen = {str(option.option) for option in LABEL_OPTIONS if "pairing" in values}
    return {name for name in SET_RULES if name in chosen or name in values}


def switched_off(options: Iterable[Option], used: OptionValues) -> set[str]:
    """Names of the options whose values ask for nothing."""
    return {
        str(option.option)
        for option in options
        if isinstance(option, Rule) and getattr(used, str(option.option)) == option.off
    }
