"""Workers send their shards to the Hub; the one commit is the launcher's, after the run."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import apache_beam as beam

from pipeline.dataset.folder import Folder
from pipeline.errors import HubError, UsageError
from pipeline.hub.client import connect, quiet_client
from pipeline.hub.retries import hub_retry_policy, retry_at_hub
from pipeline.hub.upload import groups, missing_shards, upload_group
from schemas.manifest import Shard
from transforms.writers.parquet import ShardReport
from transforms.writers.stats import UNLICENSED

PARALLEL_UPLOADS = 16
"""Lots that all workers together send at a time; the Hub counts requests by account."""

_log = logging.getLogger(__name__)


@dataclass
class PreuploadShards(beam.PTransform):
    """ShardReport → paths of the shards that are at the Hub now; uploaded, not committed.

    Fields: ``folder`` the shards are in, on a filesystem that every worker reads; ``repo``, which
    must exist; ``endpoint``, None for the client's own on each worker. Each worker takes the token
    from HF_TOKEN or the Hub's login on its machine: it is not in the graph. Bytes the Hub has are
    not sent again, so a bundle may be repeated. What cannot be sent is left to the launcher, and
    with a text that may not be published nothing is.
    """

    folder: str
    repo: str
    endpoint: str | None = None
    ids_only: bool = False

    def expand(self, reports: beam.PCollection) -> beam.PCollection:
        stop = (
            reports
            | "Look for unlicensed texts" >> beam.Map(_has_unlicensed).with_output_types(bool)
            | "In any shard" >> beam.CombineGlobally(any)
        )
        return (
            reports
            | "Share out" >> beam.Map(_lot_of).with_output_types(tuple[int, ShardReport])
            | "Bound" >> beam.GroupByKey()
            | "Send"
            >> beam.ParDo(
                _Send(self.folder, self.repo, self.endpoint),
                stop=False if self.ids_only else beam.pvalue.AsSingleton(stop),
            ).with_output_types(str)
        )


def _has_unlicensed(report: ShardReport) -> bool:
    return has_unlicensed(report.stats)


def has_unlicensed(stats: Mapping[str, int]) -> bool:
    """Whether a count of pairs with texts that may not be published is above zero."""
    return any(amount and key.startswith(f"{UNLICENSED}:") for key, amount in stats.items())


def _lot_of(report: ShardReport) -> tuple[int, ShardReport]:
    return int(report.shard.sha256[:8], 16) % PARALLEL_UPLOADS, report


class _Send(beam.DoFn):
    def __init__(self, folder: str, repo: str, endpoint: str | None) -> None:
        self._folder = folder
        self._repo = repo
        self._endpoint = endpoint

    def process(self, element: tuple[int, Iterable[ShardReport]], stop: bool) -> Iterator[str]:
        if stop:
            return
        shards = sorted((report.shard for report in element[1]), key=_path_of)
        try:
            yield from send_shards(Folder(self._folder), self._repo, self._endpoint, shards)
        # Hours of work hang on this run, and the launcher will try again.
        except (HubError, UsageError) as error:
            _log.warning("shards are left to the launcher: %s", error)
        except Exception as error:
            # Of the client or the filesystem; its text may hold an address that is a secret.
            _log.warning("shards are left to the launcher: %s", type(error).__name__)


def _path_of(shard: Shard) -> str:
    return shard.path


def send_shards(
    folder: Folder, repo: str, endpoint: str | None, shards: Iterable[Shard]
) -> Iterator[str]:
    """Send shards one lot after the other, patiently; yields the paths that have arrived.

    Raises HubError, and UsageError where the client is not installed.
    """
    api = connect(endpoint)
    retries = hub_retry_policy(say=_log.info)
    for group in groups(shards):

        def send(group: tuple[Shard, ...] = group) -> None:
            missing = missing_shards(api, repo, group)
            if missing:
                upload_group(api, repo, folder, missing)

        with quiet_client():
            retry_at_hub(retries, repo, send)
        retries.reset()
        yield from (shard.path for shard in group)
