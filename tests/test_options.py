import argparse
import dataclasses
import re
from pathlib import Path

import pytest

from pipeline.cli import make_parser
from pipeline.curate import recipe as recipes
from pipeline.curate.options import GROUPS, CurateOptions, parse
from pipeline.curate.recipe import Recipe
from pipeline.errors import RecipeError, UsageError
from pipeline.runners.options import runner_of
from transforms.dedup import MIN_RECALL
from transforms.dedup.minhash import MinHashRules
from transforms.pairing import PairingRules, VoteMode, preset


def options(*arguments: str) -> CurateOptions:
    namespace, rest = make_parser().parse_known_args(["curate", *arguments])
    return parse(namespace.parser, namespace, rest)


GIVEN = ("--input", "stackexchange=x", "--output", "out/x")


def test_every_recipe_field_has_a_flag_a_group_and_a_description() -> None:
    grouped = [name for names in GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(Recipe.__struct_fields__)
    parser: argparse.ArgumentParser = make_parser().parse_args(["curate"]).parser
    text = parser.format_help()
    for name in Recipe.__struct_fields__:
        assert "--" + name.replace("_", "-") in text


def test_defaults_are_the_documented_ones() -> None:
    found = options(*GIVEN)
    assert found.recipe.languages == ("en",)
    assert found.is_local and found.workers is None
    assert recipes.pairing_rules(found.recipe) == preset("all")
    assert recipes.pairing_rules(found.recipe).votes is VoteMode.NET_VOTES
    assert recipes.split_shares(found.recipe) == {"train": 90, "validation": 5, "test": 5}


def test_flags_override_the_config_file(tmp_path: Path) -> None:
    config = tmp_path / "recipe.yaml"
    config.write_text(
        "languages: [fr, en]\nmin-margin: 3\nvotes: common_window\ninput: [stackexchange=y]\n"
    )
    found = options("--config", str(config), "--min-margin", "2", "--output", "o").recipe
    assert found.languages == ("fr", "en")
    assert found.votes == "common_window"
    assert found.min_margin == 2
    assert found.input == ("stackexchange=y",)


def test_a_flag_overrides_its_preset_only_there() -> None:
    found = options(*GIVEN, "--pairing", "shp", "--votes", "common_window", "--min-margin", "2")
    rules = recipes.pairing_rules(found.recipe)
    shp = preset("shp")
    assert rules.votes is VoteMode.COMMON_WINDOW
    assert rules.min_margin == 2
    assert rules.min_prompt_score == shp.min_prompt_score == 10
    assert rules.drop_deleted_authors


def test_a_resolved_recipe_is_complete_and_gives_itself_again() -> None:
    found = options(*GIVEN, "--pairing", "shp", "--languages", "fr,en").recipe
    resolved = recipes.resolve(found)
    assert None not in {value for key, value in resolved.items() if key in ("votes", "min_margin")}
    again = recipes.make(resolved)
    assert recipes.resolve(again) == resolved
    assert recipes.pairing_rules(again) == recipes.pairing_rules(found)


def test_the_order_of_inputs_does_not_change_the_resolved_recipe() -> None:
    one = recipes.make({"input": ["stackexchange=a", "stackexchange=b"]})
    two = recipes.make({"input": ["stackexchange=b", "stackexchange=a"]})
    assert recipes.resolve(one) == recipes.resolve(two)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--langauges", "fr"), "did you mean --languages?"),
        (("--languages",), ""),
        (("--directnum_workers=2",), "did you mean --direct_num_workers?"),
        (("--pairing", "shq"), "worldpm"),
        (("--votes", "best"), "common_window"),
        (("--split", "90/10"), "TRAIN/VALIDATION/TEST"),
        (("--split", "0/0/0"), "TRAIN/VALIDATION/TEST"),
        (("--drop-closed", "boring"), "off_topic"),
        (("--min-prompt-chars", "9", "--max-prompt-chars", "8"), "9 is more than maximum 8"),
        (("--min-language-probability", "1.5"), "min_language_probability"),
        (("--dedup-threshold", "0"), "dedup_threshold"),
        (("--workers", "0"), "--workers"),
        (("--input", "usenet=x"), "KIND=PATH"),
        (("stray",), "stray"),
    ],
)
def test_wrong_use_is_an_error_that_says_what_would_be_right(arguments, message, capsys) -> None:
    with pytest.raises((UsageError, SystemExit)) as caught:
        options(*GIVEN, *arguments)
    assert message in str(caught.value) + capsys.readouterr().err


def test_what_is_missing_is_named() -> None:
    with pytest.raises(UsageError, match="--input"):
        options("--output", "o")
    with pytest.raises(UsageError, match="--output"):
        options("--input", "stackexchange=x")


def test_options_of_beam_pass_through() -> None:
    found = options(*GIVEN, "--direct_num_workers=2", "--job_name", "x", "--experiments=a")
    assert found.beam_arguments == ("--direct_num_workers=2", "--job_name", "x", "--experiments=a")


def test_unknown_option_in_a_config_file_names_the_file(tmp_path: Path) -> None:
    config = tmp_path / "recipe.yaml"
    config.write_text("langages: en\n")
    with pytest.raises(UsageError, match=r"recipe\.yaml.*did you mean 'languages'"):
        options("--config", str(config), *GIVEN)
    config.write_text("- a list\n")
    with pytest.raises(UsageError, match="option: value"):
        options("--config", str(config), *GIVEN)
    config.write_text("languages: 7\n")
    with pytest.raises(UsageError, match="languages"):
        options("--config", str(config), *GIVEN)


def test_one_word_in_a_config_file_may_stand_for_a_list(tmp_path: Path) -> None:
    assert recipes.make({"languages": "all"}).languages == ("all",)
    assert recipes.language_rules(recipes.make({"languages": "all"})).languages is None


def test_recipe_error_names_the_option() -> None:
    with pytest.raises(RecipeError, match="seed"):
        recipes.make({"seed": -1})


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
def test_a_lower_dedup_threshold_gets_more_candidates(threshold: float) -> None:
    rules = recipes.minhash_rules(recipes.make({"dedup_threshold": threshold}))
    assert 1 - (1 - threshold**rules.rows) ** rules.bands >= MIN_RECALL
    assert rules.threshold == threshold
    assert rules.num_perm <= MinHashRules().num_perm


def test_default_dedup_is_the_measured_one() -> None:
    assert recipes.minhash_rules(Recipe()) == MinHashRules()


def test_a_config_file_takes_run_options_too(tmp_path: Path) -> None:
    config = tmp_path / "recipe.yaml"
    config.write_text(
        "input: [stackexchange=x]\noutput: out/y\nworkers: 3\nquiet: true\nwork_dir: w\n"
    )
    found = options("--config", str(config))
    assert (found.output, found.workers, found.quiet) == ("out/y", 3, True)
    assert found.work_dir == "w"
    assert options("--config", str(config), "--workers", "2", "--output", "z").workers == 2
    config.write_text("workers: many\n")
    with pytest.raises(UsageError, match="workers"):
        options("--config", str(config), *GIVEN)


def test_every_pairing_rule_can_be_overridden() -> None:
    for field in dataclasses.fields(PairingRules):
        name = {"mode": "votes"}.get(field.name, field.name)
        assert name in Recipe.__struct_fields__, name
    found = options(
        *GIVEN, "--pairing", "shp", "--no-drop-edited-prompts", "--created-before", "2020-01-02"
    )
    rules = recipes.pairing_rules(found.recipe)
    assert not rules.drop_edited_prompts
    assert rules.created_before == 1_577_923_200_000
    assert recipes.resolve(found.recipe)["created_before"] == "2020-01-02"
    anytime = options(*GIVEN, "--pairing", "shp", "--created-before", "")
    assert recipes.pairing_rules(anytime.recipe).created_before is None
    assert recipes.resolve(options(*GIVEN, "--pairing", "shp").recipe)["created_before"] == (
        "2023-01-01"
    )


def test_workers_are_for_the_local_runner_and_flink() -> None:
    with pytest.raises(UsageError, match="--workers 2"):
        options(*GIVEN, "--runner", "SparkRunner", "--workers", "2")
    assert options(*GIVEN, "--runner", "FlinkRunner", "--workers", "2").workers == 2
    assert options(*GIVEN, "--runner", "flink").workers is None, "all slots of a cluster"


@pytest.mark.parametrize(
    ("name", "kind", "beams"),
    [
        ("local", "local", "FnApiRunner"),
        ("DirectRunner", "local", "FnApiRunner"),
        ("FnApiRunner", "local", "FnApiRunner"),
        ("flink", "flink", "FlinkRunner"),
        ("DataflowRunner", "dataflow", "DataflowRunner"),
        ("SparkRunner", "other", "SparkRunner"),
    ],
)
def test_names_of_runners(name: str, kind: str, beams: str) -> None:
    assert runner_of(name) == (kind, beams)


def test_a_manifest_without_a_recipe_and_a_small_number(tmp_path: Path) -> None:
    config = tmp_path / "manifest.json"
    config.write_text('{"manifest_version": "1", "recipe": {"min_margin": 1e-06}}')
    assert options("--config", str(config), *GIVEN).recipe.min_margin == 1e-06
    config.write_text('{"manifest_version": "1"}')
    assert options("--config", str(config), *GIVEN).recipe.min_margin is None
    config.write_text("{")
    with pytest.raises(UsageError, match=r"manifest\.json"):
        options("--config", str(config), *GIVEN)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--runner", "flnk"], "--runner flnk: no such runner; did you mean flink?"),
        (["--runner", "nothing"], "there are local, "),
        (["--runner", "flink", "--flink-stall-minutes", "0"], "more than 0"),
        (["--runner", "flink", "--flink-stall-minutes", "nan"], "more than 0"),
    ],
)
def test_a_runner_is_checked_before_anything_is_read(more: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        options(*GIVEN, *more)
    assert options(*GIVEN, "--runner", "SparkRunner").runner_kind == "other"
    assert options(*GIVEN, "--runner", "my.own.Runner").runner_kind == "other"


def test_whole_minutes_in_a_config_file_will_do(tmp_path: Path) -> None:
    config = tmp_path / "recipe.yaml"
    config.write_text("runner: flink\nflink_stall_minutes: 30\n")
    assert options(*GIVEN, "--config", str(config)).flink_stall_minutes == 30
