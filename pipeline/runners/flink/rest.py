"""What a Flink cluster says about itself over HTTP: is it fit for the job, and how far is it?

https://nightlies.apache.org/flink/flink-docs-release-1.19/docs/ops/rest_api/ has the calls.
"""

import http.client
import json
import re
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.errors import FlinkUnreachableError

HTTP_TIMEOUT_S = 10.0

DEFAULT_HEARTBEAT_TIMEOUT_S = 50.0
DEFAULT_RESTART_DELAY_S = 1.0

SORT_BUFFERS_KEY = "taskmanager.network.sort-shuffle.min-buffers"
RESULTS = 16
"""Results that one step of the job may write at a time, each in sort buffers of its own."""
DEFAULT_SORT_BUFFERS = 512
BUFFER_BYTES = 32 << 10
READ_BYTES = 32 << 20
"""Network memory for what a slot reads."""

ENDED = frozenset({"FINISHED", "FAILED", "CANCELED", "SUSPENDED"})


@dataclass(frozen=True)
class JobState:
    """One look at a job."""

    name: str
    """RUNNING, RESTARTING, FINISHED and so on."""
    tasks: Mapping[str, int]
    """Number of subtasks by their state."""
    records: int
    """Records that steps have taken in or given out."""
    restarts: int
    running: tuple[str, ...]
    """Steps at work."""

    @property
    def signature(self) -> tuple[object, ...]:
        """What changes whenever the job gets on."""
        return self.name, tuple(sorted(self.tasks.items())), self.records, self.restarts

    def describe(self) -> str:
        """One short line for people."""
        total = sum(self.tasks.values())
        if not total:
            return f"Flink: {self.name.lower()}"
        done = self.tasks.get("finished", 0)
        text = f"Flink: {done} of {total} tasks done"
        if self.name not in ("RUNNING", "FINISHED"):
            text += f", job is {self.name.lower()}"
        return text + (f", restarts {self.restarts}" if self.restarts else "")


class FlinkRest:
    """The REST interface of one JobManager, ``http://host:port``."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/") if "://" in url else f"http://{url.rstrip('/')}"

    def get(self, path: str) -> Any:
        """Return the JSON at ``path``; raises FlinkUnreachableError."""
        return self._call(path, "GET")

    def _call(self, path: str, method: str) -> Any:
        request = urllib.request.Request(f"{self.url}{path}", method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=HTTP_TIMEOUT_S) as answer:  # noqa: S310
                return json.loads(answer.read() or b"{}")
        # URLError is an OSError; an answer that is cut short is not.
        except (OSError, ValueError, http.client.HTTPException) as error:
            is_answer = isinstance(error, urllib.error.HTTPError)  # whose words have the number
            why = error if is_answer else getattr(error, "reason", None) or error
            raise FlinkUnreachableError(f"no answer from Flink at {self.url}: {why}") from None

    def jobs(self) -> dict[str, str]:
        """Names of the jobs that the cluster remembers, by id."""
        return {job["jid"]: job["name"] for job in self.get("/jobs/overview")["jobs"]}

    def job_state(self, job: str) -> JobState:
        """Look at one job."""
        found = self.get(f"/jobs/{job}")
        tasks: Counter[str] = Counter()
        records = 0
        running = []
        for vertex in found["vertices"]:
            for state, number in vertex["tasks"].items():
                tasks[state.lower()] += number
            metrics = vertex.get("metrics", {})
            records += metrics.get("read-records", 0) + metrics.get("write-records", 0)
            if vertex["status"] == "RUNNING":
                running.append(vertex["name"])
        return JobState(
            name=found["state"],
            tasks={state: number for state, number in tasks.items() if number},
            records=records,
            restarts=self._restarts(job),
            running=tuple(running),
        )

    def _restarts(self, job: str) -> int:
        for entry in self.get(f"/jobs/{job}/metrics?get=numRestarts"):
            return int(float(entry["value"]))
        return 0

    def last_error(self, job: str) -> str:
        """The root cause of a failure, as Flink has it, or ''."""
        found = self.get(f"/jobs/{job}/exceptions")
        text = found.get("root-exception") or ""
        return root_cause(text)

    def cancel(self, job: str) -> None:
        """Ask the cluster to end a job."""
        self._call(f"/jobs/{job}?mode=cancel", "PATCH")

    def settings(self) -> dict[str, str]:
        """Settings of the JobManager that differ from Flink's defaults, by key."""
        found = self.get("/jobmanager/config")
        # As they stand in the file, and YAML may have them in quotes.
        return {item["key"]: item["value"].strip().strip("'\"") for item in found}

    def slots(self) -> tuple[int, int]:
        """Slots that exist, and those that are free."""
        overview = self.get("/overview")
        return overview["slots-total"], overview["slots-available"]

    def version(self) -> str:
        """Flink's version, such as ``1.19.0``."""
        return str(self.get("/overview")["flink-version"])


def root_cause(trace: str) -> str:
    """The line of a Java trace that says most, or ''."""
    causes = [
        line.removeprefix("Caused by: ")
        for line in trace.splitlines()
        if line and not line.startswith(("\t", " "))
    ]
    # The last cause is the root; one that quotes it says more, such as the name of a file.
    while len(causes) > 1 and causes[-1].partition(": ")[2] in causes[-2]:
        causes.pop()
    return causes[-1] if causes else ""


def check_cluster(rest: FlinkRest, parallelism: int | None) -> list[str]:
    """Return what is amiss with a cluster's settings, each with its remedy.

    Raises FlinkUnreachableError when there is none, and ValueError when it cannot run the job.
    """
    total, free = rest.slots()
    if not total:
        raise ValueError(
            f"{rest.url}: no TaskManager offers a task slot; start one, or wait some seconds where "
            "it has just been started"
        )
    wanted = parallelism or total
    if wanted > total:
        raise ValueError(
            f"{rest.url}: --workers {wanted}, but the cluster has {total} task slots; ask for "
            "fewer or start another TaskManager"
        )
    settings = rest.settings()
    found = check_settings(settings)
    if free < wanted:
        found.append(
            f"{free} of {total} task slots are free and {wanted} wanted: the job waits until "
            "another one ends"
        )
    for manager in rest.get("/taskmanagers")["taskmanagers"]:
        network = manager.get("memoryConfiguration", {}).get("networkMemory", 0)
        text = settings.get(SORT_BUFFERS_KEY, "")
        buffers = int(text) if text.isdecimal() else DEFAULT_SORT_BUFFERS
        needed = network_bytes(buffers) * manager["slotsNumber"]
        if network and network < needed:
            found.append(
                f"TaskManager {manager['id']} has {network >> 20} MB of network memory for "
                f"{manager['slotsNumber']} slots, and the job may end with 'Insufficient number "
                f"of network buffers'; set taskmanager.memory.network.min and .max to "
                f"{needed >> 20}m, or {SORT_BUFFERS_KEY} to less than {buffers}"
            )
            break
    return found


def network_bytes(sort_buffers: int) -> int:
    """Network memory that a TaskManager needs for each of its slots."""
    return RESULTS * sort_buffers * BUFFER_BYTES + READ_BYTES


def check_settings(settings: Mapping[str, str]) -> list[str]:
    """Return what in the settings of a JobManager makes a lost worker a hang or a failure."""
    found = []
    strategy = settings.get("jobmanager.execution.failover-strategy", "region")
    if strategy != "full":
        found.append(
            f"jobmanager.execution.failover-strategy is {strategy}: when a TaskManager is lost "
            "the job may hang, because restarted steps wait for the lost one's worker; set it "
            "to full"
        )
    restart = settings.get("restart-strategy.type", settings.get("restart-strategy", "none"))
    if restart in ("none", "off", "disable"):
        found.append(
            "there is no restart strategy: a lost TaskManager ends the job; set "
            "restart-strategy.type to fixed-delay"
        )
    elif restart in ("fixed-delay", "fixeddelay"):
        delay = seconds(
            settings.get("restart-strategy.fixed-delay.delay", ""), DEFAULT_RESTART_DELAY_S
        )
        heartbeat = seconds(settings.get("heartbeat.timeout", ""), DEFAULT_HEARTBEAT_TIMEOUT_S)
        if delay <= heartbeat:
            found.append(
                f"restart-strategy.fixed-delay.delay ({delay:g} s) is not longer than "
                f"heartbeat.timeout ({heartbeat:g} s): every attempt may be placed on a "
                "TaskManager that is dead; make the delay longer or the timeout shorter"
            )
    return found


_DURATION = re.compile(r"(\d+)\s*([a-zA-Zµ]*)")
_UNITS = {"": 1e-3, "ms": 1e-3, "s": 1.0, "sec": 1.0, "second": 1.0, "min": 60.0, "m": 60.0}
_UNITS |= {"seconds": 1.0, "minute": 60.0, "minutes": 60.0, "h": 3600.0, "hour": 3600.0}


def seconds(text: str, default: float) -> float:
    """Read one of Flink's durations (``10 s``, ``8000``), in seconds."""
    match = _DURATION.fullmatch(text.strip().strip("'\""))
    if match is None:
        return default
    return int(match[1]) * _UNITS.get(match[2].lower(), 1.0)
