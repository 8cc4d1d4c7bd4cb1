"""Who asks, and repositories as wholes: made, removed, allowed; and the check of cards."""

import re
from dataclasses import dataclass

from tests.hub.card import faults_of
from tests.hub.exchange import REPO, Refusal, Request, Response, Route
from tests.hub.store import Store


@dataclass
class Accounts:
    """The endpoints that are about accounts and whole repositories."""

    store: Store
    endpoint: str = ""

    def whoami(self, request: Request) -> Response:
        account = self.store.known(request)
        role = "write" if account.writes else "read"
        return Response.json(
            {
                "type": "user",
                "id": account.user,
                "name": account.user,
                "fullname": account.user,
                "orgs": [{"type": "org", "name": name} for name in account.organizations],
                "auth": {"type": "access_token", "accessToken": {"role": role}},
            }
        )

    def create(self, request: Request) -> Response:
        account = self.store.known(request)
        asked = request.json()
        if asked.get("type") != "dataset":
            raise Refusal(501, "Only dataset repositories are served here")
        name = str(asked.get("name"))
        namespace = asked.get("organization") or account.user
        if re.fullmatch(r"[\w][\w.-]{0,95}", name) is None:
            raise Refusal(400, "Invalid repo name")
        repo = f"{namespace}/{name}"
        url = f"{self.endpoint}/datasets/{repo}"
        if not account.owns(repo) or not account.writes:
            raise Refusal(
                403,
                f'You don\'t have the rights to create a dataset under the namespace "{namespace}"',
            )
        if repo in self.store.repositories:
            raise Refusal(409, "You already created this dataset repo", body={"url": url})
        private = asked.get("visibility") == "private" or asked.get("private") is True
        self.store.create(repo, private, account.user)
        return Response.json({"url": url, "name": repo})

    def delete(self, request: Request) -> Response:
        account = self.store.known(request)
        asked = request.json()
        repo = f"{asked.get('organization') or account.user}/{asked.get('name')}"
        self.store.writable(request, repo)
        del self.store.repositories[repo]
        return Response(200, b"OK")

    def may_read(self, request: Request, repo: str) -> Response:
        self.store.readable(request, repo)
        return Response.json({})

    def may_write(self, request: Request, repo: str) -> Response:
        self.store.writable(request, repo)
        return Response.json({})

    def validate_yaml(self, request: Request) -> Response:
        errors, warnings = faults_of(str(request.json().get("content", "")))
        body = {
            "errors": [{"message": message} for message in errors],
            "warnings": [{"message": message} for message in warnings],
        }
        return Response.json(body, 400 if errors else 200)

    def routes(self) -> list[Route]:
        return [
            ("GET", "/api/whoami-v2", self.whoami),
            ("POST", "/api/repos/create", self.create),
            ("DELETE", "/api/repos/delete", self.delete),
            ("POST", "/api/validate-yaml", self.validate_yaml),
            ("GET", f"/api/datasets/{REPO}/auth-check", self.may_read),
            ("GET", f"/api/datasets/{REPO}/auth-check/write", self.may_write),
        ]
