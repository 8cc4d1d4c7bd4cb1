"""What a version says of itself at the Hub: its card, with the changes since the one before."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pipeline.dataset.card import Release, is_generated, make_card
from pipeline.dataset.folder import CARD_NAME, REMEDY, REPORT_NAME, DatasetFolder
from pipeline.diff.changelog import make_changelog
from pipeline.diff.compare import compare_datasets
from pipeline.diff.difference import Advice, DatasetDifference
from pipeline.errors import DatasetError
from pipeline.hub.client import as_hub_error
from pipeline.hub.repo_state import HubFolder, Refs
from pipeline.hub.with_exports import FolderWithExports
from schemas.hub_names import Version
from schemas.manifest import MANIFEST_NAME

if TYPE_CHECKING:
    from huggingface_hub import HfApi


@dataclass
class ReleaseNotes:
    """Writes the files beside the shards; compares with the previous version at most once."""

    api: "HfApi"
    folder: DatasetFolder
    repo: str
    version: Version
    say: Callable[[str], None] = lambda _: None
    with_changes: bool = True
    previous: Version | None = field(default=None, init=False)
    difference: DatasetDifference | None = field(default=None, init=False)
    _compared: str | None = field(default=None, init=False)

    def documents(self, refs: Refs) -> dict[str, bytes]:
        """The files of the version beside its shards, given the versions there are."""
        return {
            CARD_NAME: self.card(refs),
            MANIFEST_NAME: self.folder.manifest_bytes,
            REPORT_NAME: self.folder.document(REPORT_NAME),
            **self.folder.more_documents,
        }

    def card(self, refs: Refs) -> bytes:
        """The card; one that a person has edited is published as it stands."""
        self._compare(refs)
        theirs = self.folder.document(CARD_NAME)
        if not is_generated(theirs.decode("utf-8")):
            return theirs
        changes = ""
        if self.difference is not None and self.previous is not None:
            changes = make_changelog(self.difference, self.previous.tag, self.version.tag)
        release = Release(repo=self.repo, version=self.version.tag, changes=changes)
        if isinstance(self.folder, FolderWithExports):
            release = replace(
                release,
                configs=self.folder.card_configs(),
                sections=self.folder.card_sections(release.repo, release.version),
            )
        try:
            card = make_card(self.folder.manifest, self.folder.report, self.repo, release)
        except (KeyError, TypeError, AttributeError) as error:
            # Of an older or a newer forumprefs, or written by hand.
            problem = f"{REPORT_NAME}: lacks what the card says ({error})"
            raise DatasetError(self.folder.location, [problem], REMEDY) from None
        return card.encode("utf-8")

    def _compare(self, refs: Refs) -> None:
        previous = refs.previous(self.version)
        commit = None if previous is None else refs.tags[previous.tag]
        if not self.with_changes or commit == self._compared:
            return
        self.previous, self.difference = previous, None
        if previous is not None and commit is not None:
            self.say(f"comparing with {previous}")
            try:
                before = HubFolder(self.api, self.repo, previous.tag, commit)
                self.difference = compare_datasets(before, self.folder, limit=0)
            except DatasetError as error:
                if as_hub_error(error, previous.tag) is not None:
                    raise  # the network failed, not the version
                self.say(f"no list of changes since {previous}: {error.problems[0]}")
        self._compared = commit

    def advice(self) -> str:
        """One sentence on whether the version's number fits what has changed."""
        if self.difference is None or self.previous is None:
            return ""
        return advise(self.previous, self.version, self.difference.advice)


LEVELS = ("none", "patch", "minor", "major")


def advise(previous: Version, version: Version, advice: Advice) -> str:
    """Compare how far a version's number was raised with how far the changes call for."""
    if advice.level == "none":
        return f"{version} holds what {previous} holds: {advice.because}"
    raised = level_between(previous, version)
    wanted = next_number(previous, advice.level)
    if LEVELS.index(raised) < LEVELS.index(advice.level):
        return (
            f"{advice.because} That calls for another {advice.level} number after {previous}, "
            f"such as {wanted}; {version} raises the {raised} number only"
        )
    return f"{version} after {previous} fits: {advice.because}"


def level_between(old: Version, new: Version) -> str:
    """Which number was raised from an older version to a newer one."""
    for level, before, after in zip(
        ("major", "minor", "patch"), old.numbers, new.numbers, strict=True
    ):
        if before != after:
            return level
    return "patch"  # from a version before it, as in 1.0.0-rc.1, to the version


def next_number(version: Version, level: str) -> str:
    """The next version of a level, spelled like ``version``."""
    major, minor, patch = version.numbers
    numbers = {
        "major": (major + 1, 0, 0),
        "minor": (major, minor + 1, 0),
        "patch": (major, minor, patch + 1),
    }[level]
    return ("v" if version.tag.startswith("v") else "") + ".".join(map(str, numbers))
