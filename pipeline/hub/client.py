"""The Hugging Face Hub's client: who we are to it, its errors in words.

The token is never held here. The client takes it from HF_TOKEN or its own login with each
request, so no option, log, manifest, exception or pickled object can carry it.
"""

import contextlib
import json
import logging
import os
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, TypeVar

from pipeline.errors import BadRequestError, HubError, MissingRepoError, Throttled, UsageError
from pipeline.hub.names import need_endpoint
from schemas.hub_names import UNSENDABLE, is_token

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

T = TypeVar("T")

TRANSIENT = frozenset({408, 409, 412, 425, 429, 500, 502, 503, 504})
"""Answers after which a step is tried again: busy, broken, or somebody was faster (409, 412)."""

INSTALL = "the Hub's client is not installed; install it: pip install 'forumprefs[hub]'"


def connect(endpoint: str | None = None) -> "HfApi":
    """Return the client for an endpoint.

    Raises UsageError where it is not installed, HF_ENDPOINT is not an address, or the token is not
    one.
    """
    # Without this the client also asks the public Hub, whatever the endpoint.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        from huggingface_hub import HfApi
    except ImportError:
        raise UsageError(INSTALL) from None
    try:
        ours = version("forumprefs")
    except PackageNotFoundError:
        ours = "0"
    api = HfApi(endpoint=endpoint, library_name="forumprefs", library_version=ours)
    need_endpoint(api.endpoint, "HF_ENDPOINT" if endpoint is None else "--endpoint")
    check_token()
    return api


@contextlib.contextmanager
def quiet_client(*, verbose: bool = False) -> Iterator[None]:
    """Keep the client's bars off the terminal and, unless ``verbose``, its warnings.

    They name each of its own retries; we say what matters ourselves. The log of every request is
    kept off in any case: it has addresses by which whoever reads it may read and write files.
    """
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    names = ["httpx", "httpx2"] if verbose else ["huggingface_hub", "httpx", "httpx2"]
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    shown = not are_progress_bars_disabled()
    if shown:
        disable_progress_bars()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if shown:
            enable_progress_bars()


def check_token() -> None:
    """Raise UsageError for a token that cannot be sent; there may be none."""
    from huggingface_hub import get_token

    try:
        token = get_token() or ""
    except UnicodeDecodeError:  # the file of a login
        raise UsageError(UNSENDABLE) from None
    if not is_token(token):
        raise UsageError(UNSENDABLE)


def need_token() -> None:
    """Raise UsageError where there is no token to write with."""
    try:
        from huggingface_hub import get_token
    except ImportError:
        raise UsageError(INSTALL) from None
    if not get_token():
        raise UsageError(
            "there is no token of the Hub; set HF_TOKEN or log in with `hf auth login` (a token "
            "that may write)"
        )


def call_hub(what: str, call: Callable[[], T]) -> T:
    """Call the client, and turn its errors into HubError about ``what``, e.g. a repository.

    The client's error is dropped, also as cause and context: it holds the request's headers.
    """
    try:
        return call()
    except HubError:
        raise
    except Exception as error:
        # Also a UsageError, when it is about a file that could not be read from the Hub.
        found = as_hub_error(error, what)
        if found is None:
            raise
    raise found


def as_hub_error(error: BaseException, what: str) -> HubError | None:
    """Say in words what an error of the client means; None for one that is not about the Hub."""
    from huggingface_hub.errors import (
        HfHubHTTPError,
        LocalTokenNotFoundError,
        OfflineModeIsEnabled,
    )

    if isinstance(error, json.JSONDecodeError):  # not of a file: those have errors of their own
        return HubError(f"{what}: what answered is not a Hub; is the endpoint right?")
    causes = list(_causes(error))
    if any(isinstance(cause, OfflineModeIsEnabled) for cause in causes):
        return HubError(f"{what}: the Hub's client is set to work offline; unset HF_HUB_OFFLINE")
    http = next((cause for cause in causes if isinstance(cause, HfHubHTTPError)), None)
    if http is not None:
        return _explain_status(http, what)
    if any(isinstance(cause, LocalTokenNotFoundError) for cause in causes):
        return HubError(f"{what}: there is no token of the Hub; set HF_TOKEN")
    if any(_is_transport(cause) for cause in causes):
        kind = next(cause for cause in causes if _is_transport(cause))
        return HubError(
            f"{what}: the Hub cannot be reached ({type(kind).__name__}); is there a network, and "
            "is the endpoint right?",
            transient=True,
        )
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_transport(error: BaseException) -> bool:
    """Whether an error says that a request got no answer."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return "TransportError" in names or isinstance(error, ConnectionError | TimeoutError)


def _explain_status(error: "HfHubHTTPError", what: str) -> HubError:
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    status = error.response.status_code
    said = f" ({error.server_message})" if error.server_message else ""
    if status == 401 and not isinstance(error, RepositoryNotFoundError):
        return HubError(f"{what}: the Hub does not know the token (401); make a new one")
    if isinstance(error, GatedRepoError):
        return HubError(f"{what}: is gated; accept its conditions on its page at the Hub first")
    if status == 403:
        return HubError(
            f"{what}: the token may not do this (403){said}; use one with write access to it"
        )
    if isinstance(error, RepositoryNotFoundError):
        return MissingRepoError(
            f"{what}: there is no such dataset at the Hub, or the token may not see it ({status})"
        )
    if isinstance(error, RevisionNotFoundError):
        return HubError(f"{what}: there is no such revision")
    if status == 429:
        return Throttled(f"{what}: the Hub asks for a pause (429)", told_wait(error))
    if status in TRANSIENT:
        busy = f"{what}: the Hub answered {status}{said}"
        return Throttled(busy, told_wait(error))
    if status == 400:
        return BadRequestError(f"{what}: the Hub answered 400{said}")
    return HubError(f"{what}: the Hub answered {status}{said}")


def told_wait(error: "HfHubHTTPError") -> float | None:
    """Seconds that an answer asks to wait, in Retry-After or RateLimit."""
    from huggingface_hub.utils import parse_ratelimit_headers  # type: ignore[attr-defined]

    headers = error.response.headers
    after = headers.get("Retry-After", "")
    if after.strip().isdecimal():
        return float(after)
    limits = parse_ratelimit_headers(headers)
    if limits is not None and limits.remaining == 0:
        return float(limits.reset_in_seconds)
    return None
