"""``forumprefs publish``: a dataset folder becomes a version at the Hugging Face Hub."""

import argparse
import json
from collections.abc import Iterable
from typing import Any

from pipeline.console import TransferProgress, print_text, readable_size
from pipeline.dataset.card import is_generated
from pipeline.dataset.checks import figure_faults
from pipeline.dataset.folder import CARD_NAME, REMEDY, DatasetFolder, verify_folder
from pipeline.errors import DatasetError, RefusedError, UsageError
from pipeline.hub.client import connect, need_token, quiet_client
from pipeline.hub.names import need_endpoint, need_repo, need_version
from pipeline.hub.permissions import check_target
from pipeline.hub.publication import Forecast, Publication, PublishOutcome
from pipeline.hub.publish_request import SHRINK_LIMIT, PublishRequest
from pipeline.hub.publish_target import PublishTarget
from pipeline.hub.release_notes import ReleaseNotes
from pipeline.hub.retries import hub_retry_policy, retry_at_hub
from pipeline.hub.with_exports import FolderWithExports
from schemas.manifest import Manifest

LONGEST_MESSAGE = 100
"""Characters of a commit's first line. Titles at the Hub are cut off somewhere above that, and the
end of a pull request's title is what it is known by."""

EPILOG = """\
examples:
  forumprefs publish out/beer acme/beer-prefs --version v1.0.0
  forumprefs publish out/beer acme/beer-prefs --version v1.1.0 --dry-run
  forumprefs publish gs://bucket/beer acme/beer-prefs --version v1.1.0
  forumprefs publish out/beer acme/beer-prefs --version v1.1.0 --exports out/beer-trl

A version is a tag that never moves: readers see all of it or none. The command can be repeated
after any failure; what has been sent is not sent again, and a finished version is left alone.
The token is taken from HF_TOKEN or `hf auth login`, and is written nowhere.

exit codes: 0 published, now or before; 1 failed, run it again; 2 usage error, or a damaged folder;
3 refused: the version has other data, the texts may not be published, or it shrinks;
130 interrupted
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``forumprefs publish``."""
    parser.epilog = EPILOG
    parser.add_argument("folder", metavar="DIR", help="finished dataset folder, or its URL")
    parser.add_argument("repo", metavar="OWNER/NAME", help="dataset at the Hub; made if missing")
    parser.add_argument(
        "--version", required=True, metavar="V", help="tag to make, e.g. v1.2.0 (semver.org)"
    )
    parser.add_argument(
        "--exports",
        metavar="DIR2",
        help="what `forumprefs export` has made of DIR, as further configurations of the version",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would change; change nothing"
    )
    parser.add_argument(
        "--private", action="store_true", help="make the dataset private; refuse a public one"
    )
    parser.add_argument(
        "--create-pr",
        action="store_true",
        help="open a pull request and leave main alone; after merging, run again without it",
    )
    parser.add_argument("--message", metavar="TEXT", help="first line of the commit")
    parser.add_argument(
        "--allow-shrink",
        action="store_true",
        help="also publish what has far fewer pairs than main, or replaces other files there",
    )
    parser.add_argument(
        "--shrink-limit",
        type=float,
        default=SHRINK_LIMIT,
        metavar="PERCENT",
        help=f"fewer pairs than main that are accepted (default: {SHRINK_LIMIT:g})",
    )
    parser.add_argument(
        "--no-changelog",
        action="store_true",
        help="omit the changes since the previous version from the card (they are found by "
        "reading its ids, scores and hashes)",
    )
    add_endpoint_argument(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object, for programs")
    parser.add_argument("--quiet", action="store_true", help="no progress, no summary")
    parser.add_argument("-v", "--verbose", action="store_true", help="show logs")


def add_endpoint_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--endpoint``."""
    parser.add_argument(
        "--endpoint", metavar="URL", help="another Hub than the client's own (HF_ENDPOINT)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run ``forumprefs publish``; returns its exit code, raises UsageError and HubError."""
    version = need_version(arguments.version)
    repo = need_repo(arguments.repo)
    endpoint = need_endpoint(arguments.endpoint)
    if not 0 <= arguments.shrink_limit <= 100:
        raise UsageError(f"--shrink-limit {arguments.shrink_limit:g}: between 0 and 100")
    check_message(arguments.message)
    if arguments.exports is None:
        folder = DatasetFolder(arguments.folder)
    else:
        folder = FolderWithExports(arguments.folder, arguments.exports)
    request = PublishRequest(
        folder=folder,
        repo=repo,
        version=version,
        private=arguments.private,
        create_pr=arguments.create_pr,
        message=arguments.message,
        allow_shrink=arguments.allow_shrink,
        shrink_limit=arguments.shrink_limit,
    )
    found = publish_folder(
        request,
        endpoint,
        dry_run=arguments.dry_run,
        with_changes=not arguments.no_changelog,
        quiet=arguments.quiet or arguments.json,
        verbose=arguments.verbose,
    )
    if arguments.json:
        print(json.dumps(as_plain(request, found)))
    return 0


def check_message(message: str | None) -> None:
    """Refuse what is not one line of a valid length; raises UsageError."""
    if message is None:
        return
    if not message.strip():
        raise UsageError("--message: is empty")
    if not message.isprintable():
        raise UsageError("--message: is more than one line, or holds control characters")
    if len(message) > LONGEST_MESSAGE:
        raise UsageError(f"--message: has {len(message)} characters, at most {LONGEST_MESSAGE}")


def publish_folder(
    request: PublishRequest,
    endpoint: str | None,
    *,
    dry_run: bool = False,
    with_changes: bool = True,
    quiet: bool = False,
    verbose: bool = False,
) -> PublishOutcome | Forecast:
    """Verify a folder, publish it, and say what came of it on stdout; with ``dry_run`` what would.

    Raises UsageError (also for a damaged folder), RefusedError and HubError.
    """
    check_publishable(request.folder.manifest)
    api = connect(endpoint)
    need_token()
    with quiet_client(verbose=verbose), TransferProgress("upload", quiet=quiet) as progress:
        if not request.create_pr:  # which others may do, too
            target = PublishTarget(request.repo, request.version, endpoint, request.private)
            check_target(target, make_repo=False, say=progress.say)
        verify_folder(request.folder, quiet=quiet)
        if faults := figure_faults(request.folder.manifest):  # which the card would tell
            raise DatasetError(request.folder.location, faults, REMEDY)
        notes = ReleaseNotes(
            api,
            request.folder,
            request.repo,
            request.version,
            progress.say,
            with_changes=with_changes,
        )
        retries = hub_retry_policy(say=progress.say)
        publication = Publication(api, request, notes, progress, retries)
        found: PublishOutcome | Forecast
        if dry_run:
            found = retry_at_hub(retries, request.name, publication.forecast)
            lines = describe_forecast(request, found)
        else:
            found = publication.run()
            lines = describe_outcome(request, found)
    edited = None
    if not is_generated(request.folder.document(CARD_NAME).decode("utf-8")):
        edited = f"{CARD_NAME} was edited by hand and goes as it stands, its load line included."
        if request.folder.more_documents:
            edited += " It has to name the exports in its `configs` itself."
    for line in [*lines, *filter(None, [edited, notes.advice()])] if not quiet else ():
        print_text(line)
    return found


def as_plain(request: PublishRequest, found: PublishOutcome | Forecast) -> dict[str, Any]:
    """What ``--json`` prints: the version, its commit (null: there is none yet), bytes."""
    accounting = request.folder.manifest.accounting
    version = {
        "repo": request.repo,
        "version": request.version.tag,
        "pairs": sum(accounting.pairs.values()),
    }
    if isinstance(found, PublishOutcome):
        return {
            **version,
            "status": found.status,
            "commit": found.commit,
            "bytes_sent": found.bytes_sent,
            "pull_request": found.pull_request,
        }
    return {
        **version,
        "status": "there" if found.published else "absent",
        "commit": found.published,
        "bytes_to_send": found.missing_bytes,
    }


def check_publishable(manifest: Manifest) -> None:
    """Refuse what may not be published; the reasons in the manifest say the way out."""
    if not manifest.publishable:
        reasons = "\n  ".join(manifest.not_publishable_because) or "its manifest says so"
        raise RefusedError(f"this dataset may not be published:\n  {reasons}")


def describe_outcome(request: PublishRequest, outcome: PublishOutcome) -> Iterable[str]:
    """Say what a publication came to, and how to read it."""
    if outcome.status == "proposed":
        yield f"{outcome.pull_request} is open, {readable_size(outcome.bytes_sent)} sent."
        yield "Once it is merged, run this command again without --create-pr to set the tag."
        return
    if outcome.status == "merged":
        yield f"main of {request.repo} holds this data; run again without --create-pr to tag it."
        return
    if outcome.status == "there":
        yield f"{request.name} had been published before; nothing was changed."
    else:
        sent = readable_size(outcome.bytes_sent)
        yield f"{request.name} is published: commit {outcome.commit[:12]}, {sent} sent."
    yield f'Read it: load_dataset("{request.repo}", revision="{request.version}")'


def describe_forecast(request: PublishRequest, forecast: Forecast) -> Iterable[str]:
    """Say what would change."""
    if forecast.published is not None:
        done = forecast.published[:12]
        yield f"{request.name} has been published (commit {done}): nothing to do."
        return
    changes = forecast.changes
    if forecast.new_repo:
        yield f"would make the {'private' if request.private else 'public'} dataset {request.repo}"
    new = len(changes.shards)
    total = len(request.folder.published_shards)
    yield f"shards: {new:,} new, {total - new:,} as they are, {len(changes.stale):,} removed"
    yield (
        f"bytes to send: {readable_size(forecast.missing_bytes)} in "
        f"{forecast.missing_shards:,} shards"
    )
    yield f"other files: {', '.join(sorted(changes.documents)) or 'none'}"
    for path in changes.stale[:10]:
        yield f"  removes {path}"
    if len(changes.stale) > 10:
        yield f"  and {len(changes.stale) - 10:,} more"
    if not changes.files:
        yield "commit: none, main holds this already"
    elif request.create_pr:
        yield f"pull request: {request.title} {request.proposal_mark}"
    elif forecast.in_parts:
        yield f"commit: {request.title} (from a pull request, because of {changes.files:,} files)"
    else:
        yield f"commit: {request.title}"
    yield f"tag: {request.version}" if not request.create_pr else "tag: none"
