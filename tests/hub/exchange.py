"""Requests, answers and refusals as plain values; no sockets here."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


class Refusal(Exception):  # noqa: N818 - it is an answer, not a defect of the server
    """An answer other than success, with the error code and the wording the Hub uses."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = dict(headers or {})
        self.body = dict(body or {})

    def response(self) -> "Response":
        headers = {"X-Error-Message": self.message, **self.headers}
        if self.code is not None:
            headers["X-Error-Code"] = self.code
        return Response.json({"error": self.message, **self.body}, self.status, headers)


@dataclass(frozen=True)
class Request:
    """One request, its body read whole."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""

    @cached_property
    def path(self) -> str:
        """The path as sent: percent-encoded, so that ``refs%2Fpr%2F1`` is one segment."""
        return urlsplit(self.target).path

    @cached_property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query, keep_blank_values=True)

    def asks(self, name: str) -> bool:
        """Whether the query sets a flag."""
        return self.query.get(name, [""])[0].lower() in ("1", "true")

    def first(self, name: str) -> str | None:
        return next(iter(self.query.get(name, [])), None)

    def header(self, name: str) -> str | None:
        return self.headers.get(name.lower())

    def json(self) -> dict[str, Any]:
        """The body as a JSON object; anything else is refused."""
        try:
            value = json.loads(self.body or b"{}")
        except ValueError:
            raise Refusal(400, "Invalid JSON") from None
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise Refusal(400, "Invalid input: expected an object")
        return value

    def form(self) -> dict[str, list[str]]:
        return parse_qs(self.body.decode(), keep_blank_values=True)


@dataclass(frozen=True)
class Response:
    """One answer; ``cut`` bytes of the body are sent before the connection breaks."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None

    @classmethod
    def json(
        cls, value: Any, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> "Response":
        kind = {"Content-Type": "application/json; charset=utf-8"}
        return cls(status, json.dumps(value).encode(), {**kind, **(headers or {})})


# A route: method, pattern of the raw path, and what answers. Named groups arrive unquoted.
Handler = Callable[..., Response]
Route = tuple[str, str, Handler]

REPO = r"(?P<repo>[^/]+/[^/]+?)"
REVISION = r"(?P<revision>[^/]+)"


def unquoted(groups: Mapping[str, str | None]) -> dict[str, str]:
    """The named groups of a matched path, percent-decoded; absent ones are empty."""
    return {name: unquote(value or "") for name, value in groups.items()}
