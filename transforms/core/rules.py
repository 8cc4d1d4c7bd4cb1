"""Rules of the recipe: the option by which a user sets one, its reason, and what it refuses.

A rule is one object in a table. Its field in the recipe, its flag on the command line, its entry in
docs/recipe.md and its key in the manifest follow from the table; the order of the table is that in
which the rules are asked, and the first that refuses a post gives the reason.
"""

import dataclasses
import inspect
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from schemas.audit import Reason
from schemas.post import Post, Thread
from transforms.core.outcomes import Rejection


def as_given(value: Any) -> Any:
    """Return ``value``: most options are used as they are written."""
    return value


@dataclass(frozen=True, kw_only=True)
class Option:
    """Something that a user may set."""

    option: str | None
    """Its name, as in the recipe: ``drop_links`` is ``--drop-links``. None: it cannot be set."""
    help: str = ""
    """One line for ``--help`` and docs/recipe.md."""
    kind: Any = bool
    """Type as it is written in a recipe, with msgspec's constraints."""
    default: Any = False
    """As the steps use it; not as it is written."""
    read: Callable[[Any], Any] = as_given
    """From what is written to what the steps use; ValueError says what would be right."""
    write: Callable[[Any], Any] = as_given
    """The other way."""


@dataclass(frozen=True, kw_only=True)
class Rule(Option):
    """An option for whose sake posts are rejected."""

    option: str | None = None
    """As in Option. None: the rule always holds."""
    reason: Reason
    """What the rejected table says of the posts."""
    off: Any = False
    """The value of the option with which the rule is not asked."""
    asked: Callable[[Any], bool] | None = None
    """Whether rules ask this one; None: where its option is not ``off``."""


@dataclass(frozen=True, kw_only=True)
class PostRule(Rule):
    """A rule that looks at one post at a time."""

    on: Literal["prompts", "responses", "posts"] = "posts"
    """Which posts it looks at; ``posts``: both kinds."""
    refuses: Callable[[Post, Post, Any], bool]
    """(post, prompt of its thread, value of the option) → whether the post has to go."""
    detail: Callable[[Post, Any], str] = lambda post, value: ""
    """(refused post, value of the option) → what was found, for the rejected table."""


R = TypeVar("R", bound=Rule)
V = TypeVar("V", bound="OptionValues")

Asked = tuple[tuple[R, Any], ...]
"""Rules that are asked, in order, each with the value of its option."""


class OptionValues:
    """A value for each option of a table, by its name; :func:`values_of` makes the fields."""

    if TYPE_CHECKING:
        __dataclass_fields__: ClassVar[dict[str, Any]]

        def __init__(self, **values: Any) -> None: ...
        def __getattr__(self, option: str) -> Any: ...


def values_of(table: Iterable[Option]) -> Callable[[type[V]], type[V]]:
    """Make a class a frozen dataclass with a field for every option of ``table``."""

    def decorate(cls: type[V]) -> type[V]:
        own = [
            (name, kind, getattr(cls, name)) for name, kind in inspect.get_annotations(cls).items()
        ]
        options = [(o.option, o.kind, o.default) for o in table if o.option is not None]
        return dataclasses.make_dataclass(
            cls.__name__,
            [(name, kind, dataclasses.field(default=value)) for name, kind, value in own + options],
            bases=(cls,),
            frozen=True,
            kw_only=True,
            namespace={"__doc__": cls.__doc__, "__module__": cls.__module__},
        )

    return decorate


def values_asked(
    table: Iterable[Option], values: OptionValues, names: Container[str]
) -> dict[str, Any]:
    """Return the values of a table's options, those of rules that are not in ``names`` as off."""
    return {
        option.option: option.off
        if isinstance(option, Rule) and option.option not in names
        else getattr(values, option.option)
        for option in table
        if option.option is not None
    }


def rules_of(thread: Thread, rules: V, by_source: Mapping[str, V]) -> V:
    """Return the rules for a thread: those of its kind of source, or ``rules`` if it has none."""
    return by_source.get(thread.prompt.source, rules) if by_source else rules


def asked(table: Sequence[R], values: OptionValues) -> Asked[R]:
    """Choose the rules that ``values`` ask, in the order of the table."""
    found = []
    for rule in table:
        value = None if rule.option is None else getattr(values, rule.option)
        holds = rule.option is None or value != rule.off
        if rule.asked(values) if rule.asked is not None else holds:
            found.append((rule, value))
    return tuple(found)


def asked_of_posts(table: Sequence[PostRule], values: OptionValues) -> dict[bool, Asked[PostRule]]:
    """Return :func:`asked` by whether a post is a prompt."""
    rules = asked(table, values)
    return {
        is_prompt: tuple((rule, value) for rule, value in rules if rule.on in ("posts", kind))
        for is_prompt, kind in ((True, "prompts"), (False, "responses"))
    }


def first_refusal(post: Post, prompt: Post, rules: Asked[PostRule]) -> Rejection | None:
    """Return why a post is refused by the first rule that does; None: by none."""
    for rule, value in rules:
        if rule.refuses(post, prompt, value):
            return Rejection(rule.reason, rule.detail(post, value))
    return None
