"""The real Xet client, with the store in a folder that it has for its own tests."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("huggingface_hub", reason="the client of the Hub is not installed")
pytest.importorskip("hf_xet", reason="the Xet client is not installed")

from pipeline.dataset.folder import DatasetFolder
from tests.hub import Fault, HubServer
from tests.hub.exchange import Request, Response
from tests.hub.store import Store
from tests.publishing import REPO

PROBE = """
import sys
from huggingface_hub import CommitOperationAdd, HfApi
add = CommitOperationAdd("probe.bin", sys.argv[1])
HfApi().preupload_lfs_files("acme/probe", additions=[add], repo_type="dataset")
"""


@dataclass(frozen=True)
class XetToken:
    """Send the client to a store in a folder."""

    store: Path

    def answer(
        self, store: Store, request: Request, process: Callable[[Request], Response]
    ) -> Response:
        url, until = f"local://{self.store}", int(time.time()) + 3600
        headers = {
            "X-Xet-Cas-Url": url,
            "X-Xet-Access-Token": "x",
            "X-Xet-Token-Expiration": str(until),
        }
        body = {"casUrl": url, "accessToken": "x", "exp": until}
        return Response.json(body, headers=headers)


@dataclass(frozen=True)
class BytesFromXet:
    """Let the server find what went to the Xet store, as the Hub's bridge to LFS does."""

    folder: Path

    def answer(
        self, store: Store, request: Request, process: Callable[[Request], Response]
    ) -> Response:
        with store.lock:
            for shard in DatasetFolder(self.folder).manifest.shards:
                content = Path(self.folder, shard.path).read_bytes()
                store.repositories[REPO].large[shard.sha256] = content
        return process(request)


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_a_version_sent_by_xet(sample: Path, tmp_path: Path) -> None:
    folder = sample
    store = tmp_path / "xet"
    store.mkdir()
    with HubServer() as hub:
        hub.create_repo(REPO)
        hub.create_repo("acme/probe")
        hub.faults.add(Fault("GET", "/xet-write-token/", 99, XetToken(store)))
        variables = hub.environment() | {"HF_HUB_DISABLE_XET": "0"}

        def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
            return subprocess.run(
                [sys.executable, *arguments], env=variables, capture_output=True, text=True
            )

        probe = tmp_path / "probe.bin"
        probe.write_bytes(os.urandom(100_000))
        if run("-c", PROBE, str(probe)).returncode or size_of(store) < 100_000:
            pytest.skip("this Xet client has no store in a folder")
        before = size_of(store)
        hub.faults.add(Fault("POST", "/commit/main$", 1, BytesFromXet(folder)))
        command = ("-m", "pipeline.cli", "publish", str(folder), REPO, "--version", "v1")
        done = run(*command)
        assert done.returncode == 0, done.stderr
        shards = sum(shard.bytes for shard in DatasetFolder(folder).manifest.shards)
        # It compresses, and sends equal pieces once.
        assert size_of(store) - before > 0.4 * shards, "the bytes went to the Xet store"
        assert hub.puts == 0, "and none through LFS"
        assert list(hub.tags(REPO)) == ["v1"] and len(hub.commits(REPO)) == 2
        sent = size_of(store)
        assert run(*command).returncode == 0
        assert size_of(store) == sent and len(hub.commits(REPO)) == 2
