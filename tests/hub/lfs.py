"""Git LFS: the batch request, uploads in one piece or in parts, and downloads by signed address.

The bytes pass through a second port, as they do on the real Hub, where a store with signed
addresses serves them; like that store, this one refuses a request that carries a token.
"""

import hashlib
import hmac
from dataclasses import dataclass, field
from math import ceil
from typing import Any
from urllib.parse import quote, urlencode

from tests.hub.exchange import REPO, Refusal, Request, Response, Route
from tests.hub.ranges import ranged
from tests.hub.repository import Repository
from tests.hub.store import Store

SECRET = b"signs addresses of this server only"
OID = r"(?P<oid>[0-9a-f]{64})"


@dataclass
class Upload:
    """An upload in parts that has not been completed."""

    repo: str
    oid: str
    size: int
    parts: dict[int, bytes] = field(default_factory=dict)


@dataclass
class Lfs:
    """Uploads under way; sizes in bytes."""

    store: Store
    multipart_above: int
    chunk_size: int
    hub_endpoint: str = ""
    lfs_endpoint: str = ""
    uploads: dict[str, Upload] = field(default_factory=dict)
    received: int = 0
    puts: int = 0

    # Addresses

    def address(self, endpoint: str, method: str, path: str, **query: str) -> str:
        """An absolute address with a signature that allows one method on it."""
        query["X-Signature"] = signature(method, path, query)
        return f"{endpoint}{path}?{urlencode(query)}"

    def check(self, request: Request, method: str) -> None:
        if request.header("Authorization") is not None:
            raise Refusal(400, "Only one auth mechanism allowed")
        query = {name: values[0] for name, values in request.query.items()}
        given = query.pop("X-Signature", "")
        if not hmac.compare_digest(given, signature(method, request.path, query)):
            raise Refusal(403, "SignatureDoesNotMatch")

    def download(self, repo: str, oid: str, name: str) -> str:
        """Where the content of an object can be read."""
        return self.address(self.lfs_endpoint, "GET", f"/{repo}/{oid}", name=name)

    # On the Hub's port

    def batch(self, request: Request, repo: str) -> Response:
        repository, _ = self.store.writable(request, repo)
        asked = request.json()
        if asked.get("operation") != "upload" or asked.get("hash_algo", "sha256") != "sha256":
            raise Refusal(422, "Only uploads named by SHA-256 are served here")
        objects = [self._actions(request, repository, item) for item in asked.get("objects", [])]
        multipart = any("chunk_size" in header_of(item) for item in objects)
        return Response.json(
            {"transfer": "multipart" if multipart else "basic", "objects": objects},
            headers={"Content-Type": "application/vnd.git-lfs+json"},
        )

    def _actions(
        self, request: Request, repository: Repository, item: dict[str, Any]
    ) -> dict[str, Any]:
        oid, size = item["oid"], item["size"]
        described: dict[str, Any] = {"oid": oid, "size": size}
        known = repository.large.get(oid)
        if known is not None:
            if len(known) != size:
                described["error"] = {"code": 422, "message": "Size does not match the object"}
            return described
        path = f"/{repository.id}/{oid}"
        if size <= self.multipart_above:
            upload: dict[str, Any] = {"href": self.address(self.lfs_endpoint, "PUT", path)}
        else:
            number = f"upload{len(self.uploads) + 1}"
            self.uploads[number] = Upload(repository.id, oid, size)
            parts = {
                f"{part:05d}": self.address(
                    self.lfs_endpoint, "PUT", path, uploadId=number, partNumber=str(part)
                )
                for part in range(1, ceil(size / self.chunk_size) + 1)
            }
            complete = "/api/complete_multipart"
            upload = {
                "href": self.address(self.hub_endpoint, "POST", complete, uploadId=number),
                "header": {"chunk_size": str(self.chunk_size), **parts},
            }
        verify = f"{self.hub_endpoint}/datasets/{repository.id}.git/info/lfs/verify"
        described["actions"] = {"upload": upload, "verify": {"href": verify}}
        return described

    def complete(self, request: Request) -> Response:
        self.check(request, "POST")
        upload = self.uploads[request.query["uploadId"][0]]
        asked = request.json()
        named = {part["partNumber"]: part["etag"] for part in asked.get("parts", [])}
        stored = {number: etag_of(part) for number, part in upload.parts.items()}
        if asked.get("oid") != upload.oid or named != stored:
            raise Refusal(400, "InvalidPart")
        content = b"".join(part for _, part in sorted(upload.parts.items()))
        self._keep(upload.repo, upload.oid, content)
        return Response.json({"success": True})

    def verify(self, request: Request, repo: str) -> Response:
        repository, _ = self.store.writable(request, repo)
        asked = request.json()
        content = repository.large.get(str(asked.get("oid")))
        if content is None:
            raise Refusal(404, "Object not found")
        if len(content) != asked.get("size"):
            raise Refusal(422, "Size does not match the object")
        return Response.json({})

    # On the second port

    def put(self, request: Request, repo: str, oid: str) -> Response:
        self.check(request, "PUT")
        number = request.first("uploadId")
        if number is None:
            self._keep(repo, oid, request.body)
        else:
            self.uploads[number].parts[int(request.query["partNumber"][0])] = request.body
        return Response(200, headers={"ETag": etag_of(request.body)})

    def get(self, request: Request, repo: str, oid: str) -> Response:
        self.check(request, "GET")
        repository = self.store.repositories.get(repo)
        content = None if repository is None else repository.large.get(oid)
        if content is None:
            raise Refusal(404, "NoSuchKey")
        name = quote(request.first("name") or oid)
        headers = {
            "ETag": f'"{oid}"',
            "Content-Type": "application/octet-stream",
            "Content-Disposition": f"attachment; filename*=UTF-8''{name}; filename=\"{name}\";",
        }
        return ranged(request, content, headers)

    def _keep(self, repo: str, oid: str, content: bytes) -> None:
        if hashlib.sha256(content).hexdigest() != oid:
            raise Refusal(400, "BadDigest: the content does not have the announced SHA-256")
        repository = self.store.repositories.get(repo)
        if repository is None:
            raise Refusal(404, "NoSuchBucket")
        repository.large[oid] = content

    def hub_routes(self) -> list[Route]:
        return [
            ("POST", rf"/datasets/{REPO}\.git/info/lfs/objects/batch", self.batch),
            ("POST", rf"/datasets/{REPO}\.git/info/lfs/verify", self.verify),
            ("POST", "/api/complete_multipart", self.complete),
        ]

    def lfs_routes(self) -> list[Route]:
        return [("PUT", f"/{REPO}/{OID}", self.put), ("GET", f"/{REPO}/{OID}", self.get)]


def signature(method: str, path: str, query: dict[str, str]) -> str:
    said = f"{method} {path} {sorted(query.items())}".encode()
    return hmac.new(SECRET, said, hashlib.sha256).hexdigest()


def etag_of(part: bytes) -> str:
    return f'"{hashlib.md5(part).hexdigest()}"'


def header_of(item: dict[str, Any]) -> dict[str, Any]:
    header: dict[str, Any] = item.get("actions", {}).get("upload", {}).get("header", {})
    return header
