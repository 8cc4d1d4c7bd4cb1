"""The released clients against the server: their settings, in this process and in another."""

import os
import subprocess
import sys
import textwrap
import types
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch
from urllib.request import getproxies

from tests.patience import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]
LOOPBACK = "127.0.0.1,localhost"

# Without the first the client uploads through Xet, whatever the server says; without the second
# it asks the endpoint of its import for a list of known tools, even from another endpoint's API;
# without the third `datasets` counts each load at s3.amazonaws.com.
SWITCHES = {
    "HF_HUB_DISABLE_XET": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_UPDATE_DOWNLOAD_COUNTS": "0",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}


def environment(endpoint: str, token: str | None, home: Path) -> dict[str, str]:
    """Variables for a subprocess: this environment with all settings of the Hub replaced."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HF_", "HUGGINGFACE_")) and not name.lower().endswith("_proxy")
    }
    paths = [str(ROOT), *filter(None, [kept.get("PYTHONPATH")])]
    kept |= {
        **SWITCHES,
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "NO_PROXY": LOOPBACK,
        "PYTHONPATH": os.pathsep.join(paths),
    }
    return kept if token is None else {**kept, "HF_TOKEN": token}


def run_python(code: str, variables: Mapping[str, str], timeout: float = PATIENCE_S) -> str:
    """What a program prints that may only talk to this machine; fails as the program does."""
    program = (
        "import os, sys\n"
        "from tests.hub.loopback import loopback_only\n"
        "with loopback_only() as attempts:\n"
        f"{textwrap.indent(textwrap.dedent(code).strip(), '    ')}\n"
        "assert not attempts, f'tried to reach {attempts}'\n"
        # Threads of pyarrow that still read ahead through Python abort a process that ends
        # normally ("terminate called without an active exception"), some of the time.
        "sys.stdout.flush()\n"
        "os._exit(0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=dict(variables),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if done.returncode != 0:
        raise AssertionError(f"exit {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


@contextmanager
def in_process(endpoint: str, token: str, home: Path) -> Iterator[list[float]]:
    """Settings of huggingface_hub in this process; yields the waits it would have made, in seconds.

    Its own default endpoint stays the public one: pass ``endpoint`` to every call, and a call
    that forgot to will be seen by ``loopback_only``.
    """
    from huggingface_hub import constants, file_download
    from huggingface_hub.utils import _http

    waits: list[float] = []
    clock = types.SimpleNamespace(sleep=waits.append)
    variables = {"HF_TOKEN": token, "NO_PROXY": LOOPBACK, "no_proxy": LOOPBACK}
    settings = {
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_DISABLE_TELEMETRY": True,
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_TOKEN_PATH": str(home / "token"),
        "HF_STORED_TOKENS_PATH": str(home / "stored_tokens"),
    }
    with ExitStack() as stack:
        stack.enter_context(patch.dict(os.environ, variables))
        for name, value in settings.items():
            stack.enter_context(patch.object(constants, name, value))
        for module in (_http, file_download):
            stack.enter_context(patch.object(module, "time", clock))
        if set(getproxies()) - {"no"}:
            # The client keeps the proxies that it read when it was made.
            _http.close_session()
            stack.callback(_http.close_session)
        yield waits
