"""What is wrong with JSON, and with the types of its values: our own judgement in our own words.

Decoders differ in what they call an error, and a release of one may differ from the next. What
they say goes nowhere: a value that one of them refuses is looked at again here, so that the same
file gives the same rejects whatever is installed.
"""

import functools
import json
import re
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, Final, NamedTuple

import msgspec

from schemas.audit import Reason
from transforms.readers.formats.numbers import MAX_COUNT
from transforms.readers.formats.values import shown

MAX_DEPTH: Final = 500
"""Arrays and objects inside each other. Decoders count on the stack of the interpreter, which is
deeper in one runner than in another, and give up between 900 and 10,000."""


class Fault(Enum):
    """Kinds of what is not JSON."""

    TRUNCATED = "truncated"
    """All that is there could be the beginning of a value."""
    TRAILING = "trailing"
    """There is something behind the value."""
    SYNTAX = "syntax"
    TOO_DEEP = "too deep"
    NOT_UTF8 = "not UTF-8"
    SURROGATE = "half of a surrogate pair"
    """JSON allows its escape, and no character has it."""
    TYPE = "type"
    """It is JSON, and not of the type that is wanted."""


class JsonProblem(NamedTuple):
    """Why bytes give no value."""

    fault: Fault
    reason: Reason
    """What a reject of them is: MALFORMED_ROW, MISSING_FIELD or BAD_VALUE."""
    detail: str


class UndecodableError(ValueError):
    """Bytes that give no value of the type that is wanted."""

    def __init__(self, problem: JsonProblem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


_BOM: Final = b"\xef\xbb\xbf"
_SPACE: Final = re.compile(rb"[ \t\r\n]*+")
_STRING_START: Final = re.compile(
    rb'"(?:[^"\\\x00-\x1f]++|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*+', re.DOTALL
)
_CUT_ESCAPE: Final = re.compile(rb"\\(?:u[0-9a-fA-F]{0,3})?\Z")
_SCALAR: Final = re.compile(
    rb"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?|true|false|null|NaN|-?Infinity"
)
_CUT_NUMBER: Final = re.compile(rb"(?:-|-?(?:0|[1-9][0-9]*+)(?:\.|(?:\.[0-9]++)?[eE][+-]?))\Z")
_WORDS: Final = (b"true", b"false", b"null", b"NaN", b"Infinity", b"-Infinity")
_PYTHONS: Final = re.compile(rb"'|(?:None|True|False)\b")
_PYTHON_NUMBER: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|NaN|-?Infinity', re.DOTALL)
_ESCAPE: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(?P<lone>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
_BRACKET: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)


def is_too_deep(data: bytes) -> bool:
    """Tell whether more than MAX_DEPTH arrays and objects are open at once."""
    # Each needs two brackets: most lines are told by their length alone.
    if len(data) <= 2 * MAX_DEPTH or data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return False
    depth = 0
    for found in _BRACKET.finditer(data):
        bracket = found[0]
        if bracket in (b"[", b"{"):
            depth += 1
            if depth > MAX_DEPTH:
                return True
        elif bracket in (b"]", b"}"):
            depth -= 1
    return False


def without_lone_surrogates(data: bytes) -> bytes:
    """Return JSON with each escaped half of a surrogate pair replaced by U+FFFD."""
    return _ESCAPE.sub(_without_lone, data)


def _without_lone(escape: re.Match[bytes]) -> bytes:
    return b"\\ufffd" if escape["lone"] else escape[0]


def without_python_numbers(data: bytes) -> bytes:
    """Return JSON with null for each NaN, and a number out of range for each Infinity.

    Python's json writes the three words, pandas has NaN where a table is empty, and JSON knows
    none of them.
    """
    if b"NaN" not in data and b"Infinity" not in data:
        return data
    return _PYTHON_NUMBER.sub(_json_number, data)


def _json_number(found: re.Match[bytes]) -> bytes:
    return {b"NaN": b"null", b"Infinity": b"1e999", b"-Infinity": b"-1e999"}.get(found[0], found[0])


def find_fault(data: bytes) -> JsonProblem | None:
    """Return why ``data`` is not JSON (RFC 8259) in UTF-8, or None.

    A BOM before it is allowed, and so are NaN, Infinity and -Infinity. Places are bytes of
    ``data``, from 1.
    """
    problem = _find_syntax_fault(data)
    if problem is not None:
        return problem
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return _malformed(Fault.NOT_UTF8, f"not UTF-8 at byte {error.start + 1}")
    return None


def _find_syntax_fault(data: bytes) -> JsonProblem | None:
    at = len(_BOM) if data.startswith(_BOM) else 0
    open_brackets: list[bytes] = []
    wants = "value"
    after_comma = False
    while True:
        at = _end_of_space(data, at)
        if at == len(data):
            return None if wants == "end" else _truncated()
        first = data[at : at + 1]
        if wants == "end":
            place = f"at byte {at + 1}, behind the end of the value"
            return _malformed(Fault.TRAILING, f"not one JSON value: there is more {place}")
        if after_comma and first in (b"]", b"}"):
            return _syntax(at, "there is nothing behind a comma")
        after_comma = False
        if first == b'"' and wants in ("value", "key", "key or end", "value or end"):
            at, problem = _end_of_string(data, at)
            if problem is not None:
                return problem
            if wants in ("key", "key or end"):
                wants = "colon"
                continue
        elif first in (b"[", b"{") and wants in ("value", "value or end"):
            open_brackets.append(first)
            if len(open_brackets) > MAX_DEPTH:
                return _malformed(Fault.TOO_DEEP, "nested too deeply")
            wants = "value or end" if first == b"[" else "key or end"
            at += 1
            continue
        elif first == b":" and wants == "colon":
            wants = "value"
            at += 1
            continue
        elif first == b"," and wants == "comma or end":
            wants = "value" if open_brackets[-1] == b"[" else "key"
            after_comma = True
            at += 1
            continue
        elif (
            first in (b"]", b"}")
            and wants in ("comma or end", "value or end", "key or end")
            and open_brackets[-1] == (b"[" if first == b"]" else b"{")
        ):
            open_brackets.pop()
            at += 1
        elif wants in ("value", "value or end") and (scalar := _SCALAR.match(data, at)):
            if scalar.end() < len(data) and _CUT_NUMBER.match(data, at):
                return _truncated()
            at = scalar.end()
        elif wants in ("value", "value or end") and _is_cut_scalar(data[at : at + 30]):
            return _truncated()
        elif _PYTHONS.match(data, at):
            return _syntax(at, "it is in the notation of Python; write it with json.dumps")
        else:
            return _syntax(at)
        wants = "comma or end" if open_brackets else "end"


def _end_of_space(data: bytes, at: int) -> int:
    space = _SPACE.match(data, at)
    assert space is not None  # it matches nothing, too
    return space.end()


def _end_of_string(data: bytes, at: int) -> tuple[int, JsonProblem | None]:
    inside = _STRING_START.match(data, at)
    assert inside is not None
    end = inside.end()
    if end == len(data) or _CUT_ESCAPE.match(data, end):
        return end, _truncated()
    if data[end : end + 1] != b'"':
        return end, _syntax(end)
    return end + 1, None


def _is_cut_scalar(rest: bytes) -> bool:
    return bool(_CUT_NUMBER.match(rest)) or any(word.startswith(rest) for word in _WORDS)


def _malformed(fault: Fault, detail: str) -> JsonProblem:
    return JsonProblem(fault, Reason.MALFORMED_ROW, detail)


def _truncated() -> JsonProblem:
    return _malformed(Fault.TRUNCATED, "not whole JSON: it breaks off")


def _syntax(at: int, why: str = "") -> JsonProblem:
    return _malformed(Fault.SYNTAX, f"not JSON at byte {at + 1}{why and ': '}{why}")


class _HugeNumber:
    """An integer of more digits, or a float of a greater exponent, than any field takes."""


def _integer(digits: str) -> int | _HugeNumber:
    return int(digits) if len(digits) < 400 else _HugeNumber()


def _float(digits: str) -> float | _HugeNumber:
    value = float(digits)
    return value if abs(value) != float("inf") else _HugeNumber()


def _constant(word: str) -> _HugeNumber | None:
    return None if word == "NaN" else _HugeNumber()


def load_untyped(data: bytes) -> Any:
    """Decode JSON that is none that any field takes: numbers out of range are infinite."""
    return json.loads(
        data.removeprefix(_BOM),
        parse_int=lambda digits: int(digits) if len(digits) < 400 else float(digits),
        parse_constant=lambda word: None if word == "NaN" else float(word),
    )


@functools.cache  # as dear as reading some hundred rows
def _type_info(wanted: Any) -> msgspec.inspect.Type:
    return msgspec.inspect.type_info(wanted)


def explain(data: bytes, wanted: Any) -> JsonProblem:
    """Say why ``data`` is not a JSON value of the type ``wanted``, which a decoder refused.

    ``wanted`` is a type that msgspec can decode. Values are named as in ``$.post.score``.
    """
    problem = find_fault(data)
    if problem is not None:
        return problem
    if without_lone_surrogates(data) != data:
        return _malformed(Fault.SURROGATE, "it holds half of a surrogate pair, not a character")
    value = json.loads(
        data.removeprefix(_BOM), parse_int=_integer, parse_float=_float, parse_constant=_constant
    )
    found = _first_mismatch(value, _type_info(wanted))
    if found is None:  # a name that is there twice, the first time with another type
        return JsonProblem(Fault.TYPE, Reason.BAD_VALUE, "a value has a type that it may not have")
    return found


class _Part(NamedTuple):
    """A value inside another one, the type that it should have, and where it stands."""

    value: Any
    wanted: msgspec.inspect.Type
    path: str


def _first_mismatch(value: Any, wanted: msgspec.inspect.Type) -> JsonProblem | None:
    """Find what is wrong with a value, the first in the order of the text.

    With a stack of its own: how deep a value may be must not depend on who calls.
    """
    stack: list[Iterator[JsonProblem | _Part]] = [iter([_Part(value, wanted, "$")])]
    while stack:
        found = next(stack[-1], None)
        if found is None:
            stack.pop()
        elif isinstance(found, _Part):
            stack.append(_look_at(found))
        else:
            return found
    return None


def _look_at(part: _Part) -> Iterator[JsonProblem | _Part]:
    """Yield what is wrong with a value, or else its parts and what it lacks."""
    value, wanted, path = part
    if isinstance(value, _HugeNumber):
        if not isinstance(wanted, msgspec.inspect.RawType):
            yield JsonProblem(Fault.TYPE, Reason.BAD_VALUE, f"{path}: number out of range")
    elif not _is_of(value, wanted):
        null = value is None and path != "$"
        reason = Reason.MISSING_FIELD if null else Reason.BAD_VALUE
        detail = f"{path}: {_shown(value)}, must be {_named(wanted)}"
        yield JsonProblem(Fault.TYPE, reason, detail)
    else:
        for kind in _kinds(wanted):
            yield from _parts(value, kind, path)


def _parts(value: Any, kind: msgspec.inspect.Type, path: str) -> Iterator[JsonProblem | _Part]:
    match kind:
        case msgspec.inspect.StructType() if isinstance(value, Mapping):
            fields = {field.encode_name: field for field in kind.fields}
            for name, item in value.items():
                if name in fields:
                    yield _Part(item, fields[name].type, f"{path}.{name}")
            for name, field in fields.items():
                if field.required and name not in value:
                    detail = f"{path}.{name}: is missing"
                    yield JsonProblem(Fault.TYPE, Reason.MISSING_FIELD, detail)
        case msgspec.inspect.ListType() if isinstance(value, list):
            for index, item in enumerate(value):
                yield _Part(item, kind.item_type, f"{path}[{index}]")
        case msgspec.inspect.DictType() if isinstance(value, Mapping):
            for name, item in value.items():
                yield _Part(item, kind.value_type, f"{path}.{name[:60]}")
        case msgspec.inspect.AnyType() if isinstance(value, Mapping | list):
            inside = path if path.endswith(".…") else f"{path}.…"
            for item in value.values() if isinstance(value, Mapping) else value:
                yield _Part(item, kind, inside)


def _kinds(wanted: msgspec.inspect.Type) -> tuple[msgspec.inspect.Type, ...]:
    if isinstance(wanted, msgspec.inspect.UnionType):
        return tuple(kind for one in wanted.types for kind in _kinds(one))
    if isinstance(wanted, msgspec.inspect.Metadata):
        return _kinds(wanted.type)
    return (wanted,)


def _is_of(value: Any, wanted: msgspec.inspect.Type) -> bool:
    return any(_is_one(value, kind) for kind in _kinds(wanted))


def _is_one(value: Any, kind: msgspec.inspect.Type) -> bool:
    match kind:
        case msgspec.inspect.AnyType() | msgspec.inspect.RawType():
            return True
        case msgspec.inspect.NoneType():
            return value is None
        case msgspec.inspect.BoolType():
            return isinstance(value, bool)
        case msgspec.inspect.IntType():
            return (
                isinstance(value, int)
                and not isinstance(value, bool)
                and (kind.ge is None or value >= kind.ge)
                and (kind.le is None or value <= kind.le)
            )
        case msgspec.inspect.FloatType():
            return isinstance(value, int | float) and not isinstance(value, bool)
        case msgspec.inspect.StrType():
            return isinstance(value, str)
        case msgspec.inspect.ListType():
            return isinstance(value, list)
        case msgspec.inspect.DictType() | msgspec.inspect.StructType():
            return isinstance(value, Mapping)
        case _:
            raise TypeError(f"no reader decodes {kind}")


_NAMES: Final[Mapping[type[msgspec.inspect.Type], str]] = {
    msgspec.inspect.NoneType: "null",
    msgspec.inspect.BoolType: "true or false",
    msgspec.inspect.FloatType: "a number",
    msgspec.inspect.StrType: "text",
    msgspec.inspect.ListType: "a list",
    msgspec.inspect.DictType: "an object",
    msgspec.inspect.StructType: "an object",
}


def _named(wanted: msgspec.inspect.Type) -> str:
    names = []
    kinds = _kinds(wanted)
    any_number = any(isinstance(kind, msgspec.inspect.FloatType) for kind in kinds)
    for kind in kinds:
        if isinstance(kind, msgspec.inspect.IntType):
            if any_number:
                continue
            bits = "at most 62 bits" if kind.le == MAX_COUNT else "64 bits"
            name = f"an integer of {bits}" if kind.le is not None else "an integer"
            names.append(f"{name}, 0 or more" if kind.ge == 0 else name)
        elif not isinstance(kind, msgspec.inspect.NoneType):
            names.append(_NAMES[type(kind)])
    return " or ".join(dict.fromkeys(names))


def _shown(value: object) -> str:
    return "null" if value is None else shown(value)
