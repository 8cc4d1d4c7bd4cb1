"""What the DAGs ask of the command line; the DAGs themselves run under `make dags`."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dags.plans import (
    INPUT_PATTERN,
    NOT_IN_RECIPE,
    REPO_PATTERN,
    SETTING_PATTERN,
    SPEC_PATTERN,
    TRAINING_DEFAULTS,
    VERSION_PATTERN,
    DatasetVersion,
    given_version,
    newest_version,
    plan_curation,
    plan_training,
    pod_arguments,
    recipe_flags,
    settled,
    superseded_by,
)
from pipeline.cli import make_parser
from pipeline.curate.options import GROUPS, RUN_OPTIONS, parse
from pipeline.errors import UsageError
from pipeline.hub.names import parse_version
from schemas.exit_codes import is_final, meaning
from training.config import load_config

CURATION: dict[str, Any] = {
    "inputs": ["threads=/data/a.jsonl", "reddit=/data/reddit"],
    "repo": "acme/prefs",
    "version": "v1.2.0",
    "recipe": {},
    "recipe_file": None,
    "runner": "local",
    "workers": 2,
    "runner_options": [],
    "private": False,
    "min_pairs": 10,
    "max_rejected": 90,
    "max_unreadable": 5,
    "shrink_limit": 12.5,
    "allow_shrink": False,
    "allow_damaged_files": False,
}
VERSION = DatasetVersion("acme/prefs", "v1.2.0", "c0ffee")
TRAINING = dict(TRAINING_DEFAULTS)


def curate_options(arguments: list[str]) -> Any:
    namespace, rest = make_parser().parse_known_args(arguments)
    return parse(namespace.parser, namespace, rest)


def test_curation_in_the_words_of_the_command_line() -> None:
    recipe = {
        "min_margin": 3,
        "languages": ["en", "fr"],
        "drop_nsfw": False,
        "conversational": True,
    }
    plan = plan_curation({**CURATION, "recipe": recipe, "private": True}, "/root")
    options = curate_options(plan.curate)
    assert options.recipe.input == tuple(CURATION["inputs"])
    assert (options.recipe.min_margin, options.recipe.languages) == (3, ("en", "fr"))
    assert (options.recipe.drop_nsfw, options.recipe.conversational) == (False, True)
    assert (options.output, options.on_existing) == ("/root/datasets/acme--prefs/v1.2.0", "resume")
    assert (options.workers, options.is_local, options.publish) == (2, True, None)
    check = curate_options(plan.check)
    assert check.publish.repo == "acme/prefs" and check.publish.private
    for arguments in (plan.verify, plan.forecast, plan.publish):
        namespace = make_parser().parse_args(arguments)
        assert namespace.folder == options.output and namespace.json
    publish = make_parser().parse_args(plan.publish)
    assert (publish.shrink_limit, publish.private, publish.dry_run) == (12.5, True, False)
    assert make_parser().parse_args(plan.forecast).dry_run


def test_a_cluster() -> None:
    of_ours = ["--flink_master=flink:8081", "--workers=4", "--work-dir=/shared/tmp"]
    params = {**CURATION, "runner": "flink", "runner_options": [*of_ours, "--parallelism=4"]}
    options = curate_options(plan_curation(params, "/root").curate)
    assert (options.runner, options.flink_master) == ("flink", "flink:8081")
    assert (options.workers, options.work_dir) == (4, "/shared/tmp")
    assert options.beam_arguments == ("--parallelism=4",)


def test_versions_and_repositories_never_meet() -> None:
    places = {
        plan_curation({**CURATION, "repo": repo, "version": version}, "/root").verify[1]
        for repo in ("acme/prefs", "acme/pre-fs", "a/cme-prefs")
        for version in ("v1.2.0", "v1.2.1")
    }
    assert len(places) == 6


def test_options_that_are_not_the_users_to_give() -> None:
    run_options = set(RUN_OPTIONS) | {"config", "dry_run", "input"}
    assert run_options <= set(NOT_IN_RECIPE)
    recipe = {name for names in GROUPS.values() for name in names} - {"input"}
    assert not recipe & set(NOT_IN_RECIPE)
    for name in NOT_IN_RECIPE:
        with pytest.raises(UsageError, match=name):
            recipe_flags({name: "x"})
    for changed in (
        {"repo": "prefs"},
        {"version": "newest"},
        {"runner_options": ["--output=/etc"]},
        {"runner_options": ["--allow-shrink"]},
        {"runner_options": ["/etc"]},
    ):
        with pytest.raises(UsageError):
            plan_curation({**CURATION, **changed}, "/root")


@given(st.from_regex(VERSION_PATTERN, fullmatch=True) | st.text("v01.-a", max_size=8))
def test_the_forms_version_is_the_command_lines(text: str) -> None:
    assert (re.search(VERSION_PATTERN, text.rstrip("\n")) is not None) == (
        parse_version(text.rstrip("\n")) is not None
    )


def test_patterns() -> None:
    for pattern, right, wrong in (
        (REPO_PATTERN, "acme/prefs", "prefs"),
        (SPEC_PATTERN, "acme/prefs@v1.0.0", "acme/prefs"),
        (INPUT_PATTERN, "reddit=/data", "reddit=data"),
        (INPUT_PATTERN, "threads=gs://bucket/x", "/data"),
        (SETTING_PATTERN, "optim.lr=1e-5", "lr=1e-5"),
    ):
        assert re.search(pattern, right) and not re.search(pattern, wrong)


def event(version: str, repo: str = "acme/prefs", **more: Any) -> dict[str, Any]:
    return {"repo": repo, "version": version, "commit": f"commit of {version}", **more}


@pytest.mark.parametrize(
    ("events", "found"),
    [
        ([], None),
        ([{}, {"version": "v1"}, event("latest"), event("v1", "nobody")], None),
        ([event("v1.9.0"), event("v1.10.0")], "v1.10.0"),
        ([event("v1.10.0"), event("v1.9.0")], "v1.10.0"),
        ([event("v1.0.0-rc.1"), event("v1.0.0")], "v1.0.0"),
        ([event("v9.0.0", "acme/others"), event("v1.0.0")], "v1.0.0"),
    ],
)
def test_the_newest_version(events: list[dict[str, Any]], found: str | None) -> None:
    newest = newest_version(events)
    if found is None:
        assert newest is None
    else:
        assert newest == DatasetVersion("acme/prefs", found, f"commit of {found}")


def test_a_version_given_by_hand() -> None:
    assert given_version(None) is None
    assert given_version("acme/prefs@v1.2.0") == DatasetVersion("acme/prefs", "v1.2.0")
    for wrong in ("acme/prefs", "acme/prefs@main", "/data/prefs"):
        with pytest.raises(UsageError, match="OWNER/NAME@VERSION"):
            given_version(wrong)


def test_training_in_the_words_of_the_command_line(tmp_path: Path) -> None:
    params = {**TRAINING, "model": "/models/m", "settings": ["optim.lr=1e-5"], "device": "cpu"}
    plan = plan_training(VERSION, params, str(tmp_path))
    train = make_parser().parse_args(plan.train)
    assert (train.dataset, train.model, train.resume) == ("acme/prefs@v1.2.0", "/models/m", True)
    assert load_config(None, train.set, {}).optim.lr == 1e-5
    assert plan.trained == f"{train.output}/summary.json"
    evaluate = make_parser().parse_args(plan.evaluate)
    assert (evaluate.model, evaluate.compare) == (train.output, [])
    assert evaluate.benchmark == ["held-out=acme/prefs@v1.2.0"]
    promote = make_parser().parse_args(plan.promote)
    assert (promote.model, promote.results) == (train.output, evaluate.output)
    assert (promote.commit, promote.max_drop) == ("c0ffee", 0.02)


def test_a_run_is_known_by_what_decides_its_weights(tmp_path: Path) -> None:
    def name(version: DatasetVersion = VERSION, **changes: Any) -> str:
        return plan_training(version, {**TRAINING, **changes}, str(tmp_path)).name

    assert name() == name(device="cpu", max_drop=0.5, benchmarks=["rm-bench"])
    names = {
        name(),
        name(model="m"),
        name(settings=["run.seed=1"]),
        name(DatasetVersion("acme/prefs", "v1.2.1")),
    }
    assert len(names) == 4
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", one) for one in names)


def test_what_is_promoted_is_compared_with(tmp_path: Path) -> None:
    alone = plan_training(VERSION, TRAINING, str(tmp_path))
    registry = tmp_path / "registry" / "acme--prefs"
    registry.mkdir(parents=True)
    (registry / "promoted.json").write_text(json.dumps({"model": "/runs/old", "dataset": None}))
    beside = plan_training(VERSION, TRAINING, str(tmp_path))
    evaluate = make_parser().parse_args(beside.evaluate)
    assert evaluate.compare == ["/runs/old"]
    assert evaluate.output != make_parser().parse_args(alone.evaluate).output
    own = make_parser().parse_args(alone.train).output
    (registry / "promoted.json").write_text(json.dumps({"model": own, "dataset": None}))
    again = plan_training(VERSION, TRAINING, str(tmp_path))
    assert make_parser().parse_args(again.evaluate).compare == []


def test_what_counts() -> None:
    given_by_hand = {"model": "by hand", "max_drop": 0, "where": None}
    variable = {"model": "by variable", "where": "kubernetes"}
    found = settled(given_by_hand, variable)
    assert (found["model"], found["max_drop"], found["where"]) == ("by hand", 0, "kubernetes")
    assert found["device"] == TRAINING_DEFAULTS["device"]


def test_a_pod_does_what_a_process_does(tmp_path: Path) -> None:
    finished = tmp_path / "summary.json"
    command = tmp_path / "forumprefs"
    command.write_text(f'#!/bin/bash\necho "$@" >> {tmp_path}/calls\n{{ [ "$2" = "a b" ]; }}')
    command.chmod(0o755)

    def pod(*arguments: str, proof: bool = True) -> int:
        given = pod_arguments(["train", *arguments], str(finished) if proof else None)
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
        return subprocess.run(["bash", "-ec", *given], env=environment).returncode

    assert pod("a b", proof=False) == 0
    assert pod("other", proof=False) != 0
    assert pod("a b") != 0, "it was stopped, and says 0"
    assert (tmp_path / "calls").read_text() == "train a b\ntrain other\ntrain a b\n"
    finished.write_text("{}")
    assert pod("other") == 0
    assert (tmp_path / "calls").read_text().count("\n") == 3


def test_exit_codes() -> None:
    assert [code for code in range(-15, 200) if is_final(code)] == [2, 3, 4]
    assert "signal 9" in meaning(-9) and meaning(77) == "unknown"


def test_models_of_two_datasets_never_compete(tmp_path: Path) -> None:
    (tmp_path / "registry" / "acme--prefs").mkdir(parents=True)
    promoted = tmp_path / "registry" / "acme--prefs" / "promoted.json"
    promoted.write_text(json.dumps({"model": "/runs/old", "dataset": "acme/prefs@v1.1.0"}))
    other = plan_training(DatasetVersion("acme/other", "v2.0.0"), TRAINING, str(tmp_path))
    assert "--compare" not in other.evaluate
    assert "--compare" in plan_training(VERSION, TRAINING, str(tmp_path)).evaluate
    promoted.write_text("[")
    with pytest.raises(UsageError, match=r"promoted\.json"):
        plan_training(VERSION, TRAINING, str(tmp_path))


def test_a_version_that_is_announced_again_does_not_replace_a_later_one(tmp_path: Path) -> None:
    (tmp_path / "registry" / "acme--prefs").mkdir(parents=True)
    promoted = tmp_path / "registry" / "acme--prefs" / "promoted.json"
    assert superseded_by(VERSION, str(tmp_path)) is None
    for dataset, expected in (
        ("acme/prefs@v1.10.0", "acme/prefs@v1.10.0"),
        ("acme/prefs@v1.2.0", None),
        ("acme/prefs@v1.1.9", None),
        ("acme/other@v9.0.0", None),
        (None, None),
    ):
        promoted.write_text(json.dumps({"model": "/runs/old", "dataset": dataset}))
        assert superseded_by(VERSION, str(tmp_path)) == expected


def test_a_recipe_file_cannot_say_where_to_publish(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("min_margin: 3\npublish: acme/prefs\nversion: v9.9.9\n")
    plan = plan_curation({**CURATION, "recipe_file": str(path)}, "/root")
    with pytest.raises(UsageError, match="publish is not an option of the recipe"):
        curate_options(plan.curate)
    path.write_text("min_margin: 3\n")
    assert curate_options(plan.curate).recipe.min_margin == 3


def test_odd_events_are_passed_over() -> None:
    good = {"repo": "acme/prefs", "version": "v1.0.0", "commit": "c"}
    odd = {"repo": "a--b/c", "version": "v3.0.0"}
    assert newest_version([good, odd]) == DatasetVersion("acme/prefs", "v1.0.0", "c")
