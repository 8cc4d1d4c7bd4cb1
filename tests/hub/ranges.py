"""Whole or partial content, by the Range header (one range; more are answered whole)."""

import re
from collections.abc import Mapping

from tests.hub.exchange import Refusal, Request, Response


def ranged(request: Request, content: bytes, headers: Mapping[str, str]) -> Response:
    """200 with everything, 206 with the bytes asked for, or 416 when there are none such."""
    said = {"Accept-Ranges": "bytes", **headers}
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", request.header("Range") or "")
    if found is None or not any(found.groups()):
        return Response(200, content, said)
    first, last = found.groups()
    if first:
        start, stop = int(first), min(int(last) + 1 if last else len(content), len(content))
    else:
        start, stop = max(len(content) - int(last), 0), len(content)
    if start >= stop:
        raise Refusal(416, "InvalidRange", headers={"Content-Range": f"bytes */{len(content)}"})
    said["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
    return Response(206, content[start:stop], said)
