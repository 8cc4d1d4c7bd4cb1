"""What is to be published, and how."""

import hashlib
from dataclasses import dataclass

from pipeline.dataset.folder import DatasetFolder
from schemas.hub_names import Version

SHRINK_LIMIT = 10.0
"""Per cent of the pairs that a version may have fewer than what main holds."""


@dataclass(frozen=True)
class PublishRequest:
    """What is to be published, and how."""

    folder: DatasetFolder
    repo: str
    version: Version
    private: bool = False
    create_pr: bool = False
    message: str | None = None
    allow_shrink: bool = False
    shrink_limit: float = SHRINK_LIMIT

    @property
    def name(self) -> str:
        """The version as a reader names it."""
        return f"{self.repo}@{self.version}"

    @property
    def title(self) -> str:
        """First line of the commit."""
        accounting = self.folder.manifest.accounting
        pairs, threads = (sum(n.values()) for n in (accounting.pairs, accounting.threads))
        return self.message or f"{self.version}: {pairs:,} pairs from {threads:,} threads"

    @property
    def proposal_mark(self) -> str:
        """End of a pull request's title, by which a later run knows it again."""
        digest = hashlib.sha256(self.folder.manifest_bytes).hexdigest()
        return f"({self.version}, manifest {digest[:12]})"
