"""YAML that others wrote: plain values only, and bounded in depth, size and what aliases make."""

from typing import Any, Final

import yaml

from schemas.small_files import MAX_DEPTH, MAX_DIGITS, SmallFileError, decode_text, is_utf8

MAX_YAML_BYTES: Final = 256 << 10
MAX_YAML_VALUES: Final = 20_000
"""Values, aliases counted as what they stand for: nine lines of nine aliases stand for 387 million.
"""

_TAG: Final = "tag:yaml.org,2002:"
_KINDS: Final = {
    f"{_TAG}null": "null",
    f"{_TAG}bool": "a truth value",
    f"{_TAG}int": "an integer",
    f"{_TAG}float": "a number",
    f"{_TAG}str": "text",
    f"{_TAG}timestamp": "a date",
    f"{_TAG}seq": "a list",
    f"{_TAG}map": "a mapping",
    f"{_TAG}merge": "a merge",
}
"""Tags that are taken; a library may know more of them."""


def decode_yaml(content: bytes | str) -> Any:
    """Decode one YAML document into plain values; dates become ``date`` and ``datetime``.

    Raises SmallFileError with line and column: for what is not YAML, has tags of its own or values
    that their tag does not allow, is too large, or nested too deeply.
    """
    if len(content) > MAX_YAML_BYTES:
        raise SmallFileError(f"is larger than {MAX_YAML_BYTES:,} bytes, which no such file is")
    text = decode_text(content) if isinstance(content, bytes) else content
    try:
        return _load(text)
    except yaml.reader.ReaderError as error:
        raise SmallFileError(
            f"is not valid YAML: character {error.position + 1:,} is a control character"
        ) from None
    except yaml.MarkedYAMLError as error:
        where = _place(error.problem_mark or error.context_mark)
        raise SmallFileError(f"is not valid YAML{where}: {error.problem}") from None
    except (yaml.YAMLError, RecursionError):
        raise SmallFileError("is not valid YAML") from None


def _load(text: str) -> Any:
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _place(mark: Any) -> str:
    return "" if mark is None else f" at line {mark.line + 1:,}, column {mark.column + 1:,}"


class _Loader(yaml.SafeLoader):
    """Counts while it composes, so that nothing large is ever made."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._values = 0
        self._sizes: dict[str, int] = {}
        """Values below each anchor that is complete."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        where = _place(event.start_mark)
        if isinstance(event, yaml.AliasEvent):
            anchor = str(event.anchor)
            if anchor in self.anchors and anchor not in self._sizes:
                raise SmallFileError(f"*{anchor}{where} stands inside of its own anchor")
            self._count(self._sizes.get(anchor, 1), where)
            return super().compose_node(parent, index)
        if self._depth >= MAX_DEPTH:
            raise SmallFileError(f"is nested more than {MAX_DEPTH} deep{where}")
        before = self._values
        self._count(1, where)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        if event.anchor is not None:
            self._sizes[event.anchor] = self._values - before
        return node

    def _count(self, more: int, where: str) -> None:
        self._values += more
        if self._values > MAX_YAML_VALUES:
            raise SmallFileError(
                f"holds more than {MAX_YAML_VALUES:,} values, aliases counted as what they stand "
                f"for{where}"
            )

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        if node.tag not in _KINDS:
            tag = node.tag.replace(_TAG, "!!")
            where = _place(node.start_mark)
            raise SmallFileError(f"has the tag {tag!r:.40}{where}; only plain values are read")
        if not isinstance(node, yaml.ScalarNode):
            return super().construct_object(node, deep=deep)
        fault = f"{node.value!r:.40}{_place(node.start_mark)} is not {_KINDS[node.tag]}"
        if len(node.value) > MAX_DIGITS and node.tag in (f"{_TAG}int", f"{_TAG}float"):
            raise SmallFileError(fault)
        if not is_utf8(node.value):
            raise SmallFileError(f"holds half of a surrogate pair{_place(node.start_mark)}")
        try:
            value = super().construct_object(node, deep=deep)
        # The constructors trust that the value was found to be of its tag, and not told to be.
        except (ValueError, IndexError, KeyError, AttributeError, OverflowError, TypeError):
            raise SmallFileError(fault) from None
        return value
