"""What the DAGs ask of the command line: parameters, places and arguments, without Airflow.

Nothing heavy is imported: the scheduler reads this every time that it parses the DAG files.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from pipeline.errors import UsageError
from pipeline.hub.names import need_repo, split_spec
from schemas.hub_names import REPO_PATTERN as REPO
from schemas.hub_names import VERSION_PATTERN as VERSION
from schemas.hub_names import parse_version
from schemas.small_files import SmallFileError, decode_json, fault_of, read_small

REPO_PATTERN: Final = f"^{REPO}$"
VERSION_PATTERN: Final = f"^{VERSION}$"
SPEC_PATTERN: Final = f"^{REPO}@{VERSION}$"
INPUT_PATTERN: Final = r"^[a-z]+=(/|[a-z0-9]+://)."
"""KIND=PLACE; tasks run in folders of their own, so a place is absolute or a URL."""
SETTING_PATTERN: Final = r"^[a-z]+\.[a-z_]+=."

RUNNERS: Final = {"local": "local", "flink": "flink", "dataflow": "dataflow"}
"""What ``--runner`` gets, by the parameter."""

OURS: Final = (
    *("config", "input", "output", "runner", "resume", "overwrite", "quiet", "verbose"),
    *("publish", "version", "private", "endpoint", "allow_shrink", "dry_run"),
    *("recipe_only", "no_report", "allow_unmatched"),
)
"""Options of ``forumprefs curate`` that only the DAG sets."""
OF_RUNNERS: Final = (
    *("work_dir", "workers", "partitions"),
    *("flink_master", "flink_job_server_jar", "flink_stall_minutes"),
)
NOT_IN_RECIPE: Final = (*OURS, *OF_RUNNERS)
"""Options of ``forumprefs curate`` that are not part of a recipe."""

RECIPE_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "propertyNames": {"pattern": "^[a-z][a-z_]*$", "not": {"enum": list(NOT_IN_RECIPE)}},
    "additionalProperties": {
        "type": ["string", "number", "boolean", "array"],
        "items": {"type": "string"},
    },
}


@dataclass(frozen=True)
class CurationPlan:
    """The commands of ``curate_and_publish``, each a list of arguments of ``forumprefs``."""

    check: list[str]
    curate: list[str]
    verify: list[str]
    forecast: list[str]
    publish: list[str]

    def as_xcom(self) -> dict[str, list[str]]:
        """As JSON, by task."""
        return asdict(self)


def plan_curation(params: Mapping[str, Any], root: str) -> CurationPlan:
    """Turn the parameters into commands; the same parameters give the same commands.

    ``root`` is a folder that all tasks see. The dataset's folder has the repository and the version
    in its name, so runs of two versions never meet, and a second run of one finds what the first
    has left. Raises UsageError.
    """
    repo, version = need_repo(params["repo"]), params["version"]
    if parse_version(version) is None:
        raise UsageError(f"version {version}: is not a valid version; write v1.2.0")
    folder = str(PurePosixPath(root, "datasets", flat(repo), version))
    target = ["--private"] if params["private"] else []
    shrink = ["--allow-shrink"] if params["allow_shrink"] else []
    curate = [
        "curate",
        *(["--config", params["recipe_file"], "--recipe-only"] if params["recipe_file"] else []),
        *recipe_flags(params["recipe"]),
        *(part for place in params["inputs"] for part in ("--input", place)),
        *("--output", folder, "--resume", "--runner", RUNNERS[params["runner"]]),
        *(["--workers", str(params["workers"])] if params["runner"] == "local" else []),
        *runner_flags(params["runner_options"]),
    ]
    publish = [
        *("publish", folder, repo, "--version", version, *target, *shrink),
        *("--shrink-limit", f"{params['shrink_limit']:g}", "--json"),
    ]
    return CurationPlan(
        check=[*curate, "--dry-run", "--publish", repo, "--version", version, *target],
        curate=curate,
        verify=[
            *("verify", folder, "--min-pairs", str(params["min_pairs"])),
            *("--max-rejected", f"{params['max_rejected']:g}"),
            *("--max-unreadable", f"{params['max_unreadable']:g}", "--json"),
            *(["--allow-damaged-files"] if params["allow_damaged_files"] else []),
        ],
        forecast=[*publish, "--dry-run", "--no-changelog"],
        publish=publish,
    )


def recipe_flags(recipe: Mapping[str, Any]) -> list[str]:
    """Flags of ``forumprefs curate`` for options as docs/recipe.md names them.

    Raises UsageError for an option that the DAG sets itself.
    """
    flags = []
    for name, value in recipe.items():
        if name in NOT_IN_RECIPE:
            raise UsageError(f"recipe: {name} is not an option of a recipe here")
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            flags.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, list):
            flags.append(f"--{flag}={','.join(map(str, value))}")
        else:
            flags.append(f"--{flag}={value}")
    return flags


def runner_flags(flags: list[str]) -> list[str]:
    """Flags of a runner, ours or Beam's; raises UsageError for one that the DAG sets itself."""
    for flag in flags:
        name = flag.partition("=")[0].removeprefix("--").replace("-", "_")
        if not flag.startswith("--") or name in OURS:
            raise UsageError(f"runner_options: {flag} is not an option of a runner")
    return flags


@dataclass(frozen=True)
class DatasetVersion:
    """A version at the Hub, as the asset's event tells it."""

    repo: str
    version: str
    commit: str | None = None

    @property
    def spec(self) -> str:
        """As ``--dataset`` takes it."""
        return f"{self.repo}@{self.version}"


def newest_version(extras: Iterable[Mapping[str, Any]]) -> DatasetVersion | None:
    """The highest version that events (oldest first) tell of, of the last event's repository.

    Several events may have come together, and a version may have been announced again after a
    higher one. Events of other shapes, as a person may make by hand, are passed over.
    """
    found = []
    for extra in extras:
        repo, version = str(extra.get("repo")), parse_version(str(extra.get("version")))
        try:
            known = version is not None and split_spec(f"{repo}@{version}") is not None
        except UsageError:
            known = False
        if known and version is not None:
            found.append((version, DatasetVersion(repo, version.tag, extra.get("commit"))))
    if not found:
        return None
    repo = found[-1][1].repo
    return max((pair for pair in found if pair[1].repo == repo), key=lambda pair: pair[0])[1]


TRAINING_DEFAULTS: Final[Mapping[str, Any]] = {
    "dataset": None,
    "model": "Qwen/Qwen2.5-0.5B",
    "settings": [],
    "benchmarks": [],
    "where": "process",
    "device": "auto",
    "max_drop": 0.02,
    "force": False,
}
"""Parameters where neither the run nor the Airflow variable names another value."""


def settled(params: Mapping[str, Any], configured: Mapping[str, Any]) -> dict[str, Any]:
    """Each parameter: as given to the run, else as configured, else the default."""
    return {
        name: next(
            (values[name] for values in (params, configured) if values.get(name) is not None),
            default,
        )
        for name, default in TRAINING_DEFAULTS.items()
    }


def given_version(spec: str | None) -> DatasetVersion | None:
    """Read ``OWNER/NAME@VERSION``; None of None. Raises UsageError."""
    if spec is None:
        return None
    parts = split_spec(spec)
    if parts is None or parse_version(parts[1]) is None:
        raise UsageError(f"dataset {spec}: write OWNER/NAME@VERSION, e.g. acme/prefs@v1.2.0")
    return DatasetVersion(*parts)


@dataclass(frozen=True)
class TrainingPlan:
    """The commands of ``pretrain_on_new_version``, and the files that prove them done."""

    name: str
    dataset: str
    train: list[str]
    trained: str
    """Written last by a run that is finished; one that SIGTERM stopped has none."""
    evaluate: list[str]
    promote: list[str]
    where: str
    train_in_pod: list[str]
    """Arguments of ``bash -ec`` that do the same as ``train``."""
    evaluate_in_pod: list[str]

    def as_xcom(self) -> dict[str, Any]:
        """As JSON, by task."""
        return asdict(self)


def plan_training(dataset: DatasetVersion, params: Mapping[str, Any], root: str) -> TrainingPlan:
    """Turn version and parameters into commands.

    The run's name holds the version and a digest of everything that decides the weights, so the
    same request is the same run, and another one is another. The model that is promoted now is
    what the new one is compared with, unless it is that very run.
    """
    deciding = json.dumps([dataset.spec, params["model"], params["settings"]], sort_keys=True)
    digest = hashlib.sha256(deciding.encode()).hexdigest()[:8]
    name = f"{flat(dataset.repo)}-{dataset.version}-{digest}"
    place = PurePosixPath(root)
    run, registry = str(place / "runs" / name), registry_of(dataset.repo, root)
    promoted = promoted_model(registry)
    against = [] if promoted in (None, run) else ["--compare", str(promoted)]
    compared = digest_of(against[1]) if against else "alone"
    results = str(place / "evaluations" / name / compared)
    benchmarks = params["benchmarks"] or [f"held-out={dataset.spec}"]
    device = ["--device", params["device"]]
    trained = str(PurePosixPath(run, "summary.json"))
    train = [
        *("train", "--dataset", dataset.spec, "--model", params["model"], "--output", run),
        *("--resume", *device),
        *(part for setting in params["settings"] for part in ("--set", setting)),
    ]
    evaluate = [
        *("evaluate", "--model", run, "--output", results, *against, *device),
        *(part for name in benchmarks for part in ("--benchmark", name)),
    ]
    return TrainingPlan(
        name=name,
        dataset=dataset.spec,
        train=train,
        trained=trained,
        evaluate=evaluate,
        where=params["where"],
        train_in_pod=pod_arguments(train, trained),
        evaluate_in_pod=pod_arguments(evaluate),
        promote=[
            *("promote", run, "--name", name, "--results", results, "--registry", registry),
            *("--max-drop", f"{params['max_drop']:g}"),
            *(["--force"] if params["force"] else []),
            *(["--commit", dataset.commit] if dataset.commit else []),
        ],
    )


def pod_arguments(command: list[str], finished: str | None = None) -> list[str]:
    """Arguments of ``bash -ec`` that run ``forumprefs`` as `ForumprefsOperator` does.

    ``finished``: file that the finished command leaves; nothing is run where it is there, and the
    pod fails where it is missing afterwards: a run that SIGTERM stopped has exit code 0.
    """
    if finished is None:
        return ['forumprefs "$@"', "forumprefs", *command]
    script = 'if [ -f "$0" ]; then echo "$0 is there"; exit 0; fi; forumprefs "$@"; test -f "$0"'
    return [script, finished, *command]


def registry_of(repo: str, root: str) -> str:
    """Folder of the registry of a dataset's models: models of two datasets never compete."""
    return str(PurePosixPath(root, "registry", flat(repo)))


def promoted_entry(registry: str) -> Mapping[str, Any] | None:
    """What is promoted; None before the first. Raises UsageError for a damaged file."""
    path = Path(registry, "promoted.json")
    try:
        entry = decode_json(read_small(path), dict[str, Any])
        return {"model": str(entry["model"]), "dataset": entry["dataset"]}
    except FileNotFoundError:
        return None
    except KeyError as error:
        raise UsageError(f"{path}: lacks {error}") from None
    except (OSError, SmallFileError) as error:
        raise UsageError(f"{path}: {fault_of(error)}") from None


def promoted_model(registry: str) -> str | None:
    """Run folder of the model that is promoted; None before the first."""
    entry = promoted_entry(registry)
    return None if entry is None else str(entry["model"])


def superseded_by(dataset: DatasetVersion, root: str) -> str | None:
    """The dataset of the promoted model, if its version is higher: one announced again is old."""
    entry = promoted_entry(registry_of(dataset.repo, root))
    parts = split_spec(str(entry["dataset"])) if entry and entry["dataset"] else None
    if parts is None or parts[0] != dataset.repo:
        return None
    version, own = parse_version(parts[1]), parse_version(dataset.version)
    later = version is not None and own is not None and version > own
    return "@".join(parts) if later else None


def digest_of(text: str) -> str:
    """Short name of a longer one."""
    return f"against-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def flat(repo: str) -> str:
    """A repository's name as that of one folder; '--' cannot stand in a repository's name."""
    return repo.replace("/", "--")
