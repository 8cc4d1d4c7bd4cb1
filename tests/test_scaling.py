import errno
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.preference_data import make_pairs, write_dataset
from training.commands import main
from training.errors import ScalingError
from training.scaling.grid import make_grid
from training.scaling.planned_sizes import why_no_fit
from training.scaling.runs import find_runs, read_run
from training.scaling.study import Study, human, make_study

MODELS = (1_500_000, 22_700_000, 135_000_000)
DATA = (1_000, 3_000, 10_000, 30_000)

TRAINER = """\
import json, sys
from pathlib import Path
options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
given = [b for a, b in zip(sys.argv[1:], sys.argv[2:]) if a == "--set"]
settings = dict(one.split("=") for one in given)
pairs, model = int(settings["data.max_pairs"]), options["--model"]
out = Path(options["--output"])
with (out.parents[2] / "calls").open("a") as calls:
    calls.write(f"{model} {pairs} {settings.get('optim.lr')}\\n")
print("training", model)
if model == "broken":
    print("out of memory")
    sys.exit(3)
parameters = {"small": 10**6, "middle": 10**7, "large": 10**8, "stops": 5}[model]
out.mkdir(parents=True)
if model != "stops":
    loss = 0.5 + 2 * parameters**-0.3 + pairs**-0.25
    (out / "summary.json").write_text(json.dumps({
        "model": {"parameters": parameters, "backbone_parameters": 1, "name": model},
        "pairs": pairs, "tokens": 1, "steps": 1,
        "validation": {"loss": loss, "accuracy": 0.6},
        "dataset": {"location": options["--dataset"], "manifest_sha256": "ab"},
        "config": {"data": {"max_pairs": pairs}, "optim": {"lr": 1e-5}},
    }))
"""


def write_run(folder: Path, parameters: int, pairs: int, loss: float, **other: Any) -> Path:
    folder.mkdir(parents=True)
    summary = {
        "model": {"parameters": parameters, "backbone_parameters": 1, "name": f"m{parameters}"},
        "pairs": pairs,
        "tokens": 1,
        "steps": 1,
        "validation": {"loss": loss, "accuracy": 0.6},
        "dataset": {"location": "out", "manifest_sha256": "ab"},
        "config": {"data": {"max_pairs": pairs}},
        **other,
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def law(parameters: float, pairs: float) -> float:
    return float(0.5 + 3 * parameters**-0.25 + 0.9 * pairs**-0.25)


def write_grid(
    root: Path,
    models: tuple[int, ...] = MODELS,
    data: tuple[int, ...] = DATA,
    *,
    noise: float = 0.001,
    flat: bool = False,
) -> Path:
    rng = np.random.default_rng(7)
    for parameters in models:
        for pairs in data:
            loss = (0.66 if flat else law(parameters, pairs)) * np.exp(rng.normal(0, noise))
            write_run(root / f"n{parameters}" / f"d{pairs}", parameters, pairs, float(loss))
    return root


def study_of(root: Path, **options: Any) -> Study:
    return make_study(find_runs([str(root)]), bootstraps=30, **options)


def test_a_clean_grid_is_supported_and_predicts_the_largest_run(tmp_path: Path) -> None:
    found = study_of(write_grid(tmp_path))
    assert found.supported, (found.against, [fit.against for fit in found.fits])
    (fit,) = found.fits
    assert fit.law.axes == ("parameters", "pairs")
    assert len(fit.runs) == 11
    assert fit.law.coefficients["beta"].value == pytest.approx(0.25, abs=0.06)
    assert found.held_out is not None
    assert (found.held_out.run.parameters, found.held_out.run.pairs) == (135_000_000, 30_000)
    assert found.held_out.inside
    assert found.held_out.predicted.value == pytest.approx(law(135_000_000, 30_000), rel=0.01)


def test_noise_is_not_supported_and_it_says_why(tmp_path: Path) -> None:
    found = study_of(write_grid(tmp_path, noise=0.01, flat=True))
    assert not found.supported
    reasons = " ".join(found.fits[0].against)
    assert "The loss does not fall with more" in reasons
    assert "cannot be told from 0" in reasons
    assert "no better by the law" in reasons


@pytest.mark.parametrize("axis", ["pairs", "parameters"])
def test_where_one_size_varies_only_its_term_is_fitted(tmp_path: Path, axis: str) -> None:
    models = (10**6,) if axis == "pairs" else tuple(10**n for n in range(5, 11))
    data = tuple(10**n for n in range(3, 9)) if axis == "pairs" else (3_000,)
    found = study_of(write_grid(tmp_path, models, data, noise=0.0))
    (fit,) = found.fits
    assert fit.law.axes == (axis,)
    exponent = fit.law.coefficients["beta" if axis == "pairs" else "alpha"]
    assert exponent.value == pytest.approx(0.25, abs=0.01)
    assert found.held_out is not None
    assert found.supported, fit.against


def test_two_models_get_a_curve_each(tmp_path: Path) -> None:
    found = study_of(write_grid(tmp_path, MODELS[:2], (*DATA, 100_000), noise=0.0))
    assert [fit.law.axes for fit in found.fits] == [("pairs",), ("pairs",)]
    assert [fit.fixed for fit in found.fits] == [{"parameters": size} for size in MODELS[:2]]
    # The floor of each curve holds the model's own term.
    floor = found.fits[1].law.coefficients["E"].value
    assert floor == pytest.approx(0.5 + 3 * MODELS[1] ** -0.25, abs=0.01)
    assert found.held_out is not None
    assert found.held_out.run.parameters == MODELS[1]


def test_four_runs_are_fitted_but_none_is_spared(tmp_path: Path) -> None:
    found = study_of(write_grid(tmp_path, MODELS[:1], DATA))
    assert len(found.fits) == 1
    assert found.held_out is None
    assert any("No run was held out" in note for note in found.notes)


def test_too_few_runs_are_not_fitted(tmp_path: Path) -> None:
    found = study_of(write_grid(tmp_path, MODELS[:2], DATA[:3]))
    assert found.fits == []
    assert not found.supported
    assert "Nothing can be fitted: 6 runs with 2 model sizes and 3 data sizes" in found.against[0]


def test_a_narrow_range_is_said(tmp_path: Path) -> None:
    found = study_of(write_grid(tmp_path, MODELS, (1_000, 1_500, 2_500, 4_000)))
    assert any(
        "data sizes span a factor of 4.0 (1,000 to 4,000)" in reason
        for reason in found.fits[0].against
    )


def against_one_curve(tmp_path: Path, losses: dict[int, float]) -> str:
    for pairs, loss in losses.items():
        write_run(tmp_path / str(pairs), 10**6, pairs, loss)
    return " ".join(study_of(tmp_path, hold_out="none").fits[0].against)


def test_a_floor_that_cannot_be_told_from_none_is_said(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.004, 5)
    losses = {
        pairs: float(1.2 * pairs**-0.1 * np.exp(off))
        for pairs, off in zip((1_000, 3_000, 10_000, 30_000, 100_000), noise, strict=True)
    }
    assert "to tell a floor of the loss from none" in against_one_curve(tmp_path, losses)


def test_an_exponent_beyond_all_that_are_tried_is_said(tmp_path: Path) -> None:
    losses = {pairs: 0.5 + 0.1 * (pairs / 1000) ** -9 for pairs in (1_000, 1_300, 4_000, 10_000)}
    reasons = against_one_curve(tmp_path, losses)
    assert "3.00, the largest value tried: the runs do not determine it" in reasons


def test_a_run_that_breaks_the_law_is_outside_its_interval(tmp_path: Path) -> None:
    write_grid(tmp_path, data=DATA[:3])
    odd = write_run(tmp_path / "odd", 135_000_000, 30_000, 0.72)
    found = study_of(tmp_path)
    assert found.held_out is not None
    assert found.held_out.run.path == str(odd)
    assert not found.held_out.inside
    assert "does not extrapolate" in found.against[0]
    assert not found.supported


def test_hold_out_by_name_or_not_at_all(tmp_path: Path) -> None:
    write_grid(tmp_path)
    path = str(tmp_path / "n1500000" / "d1000")
    found = study_of(tmp_path, hold_out=path + "/")
    assert found.held_out is not None
    assert found.held_out.run.path == path
    assert len(found.fits[0].runs) == 11
    assert study_of(tmp_path, hold_out="none").held_out is None
    with pytest.raises(ScalingError, match="no such run"):
        study_of(tmp_path, hold_out="elsewhere")


def test_models_worse_than_chance_have_nothing_to_scale(tmp_path: Path) -> None:
    for place, pairs in enumerate((*DATA, 100_000)):
        write_run(tmp_path / str(pairs), 10**6, pairs, 0.9 - 0.03 * place)
    assert any("better than chance" in reason for reason in study_of(tmp_path).fits[0].against)


def test_runs_that_cannot_be_compared_are_not_supported(tmp_path: Path) -> None:
    write_grid(tmp_path / "a")
    other = {"location": "out", "manifest_sha256": "cd"}
    write_run(tmp_path / "b", 10**6, 1000, law(10**6, 1000), dataset=other)
    found = study_of(tmp_path)
    assert not found.supported
    assert any("2 different datasets" in reason for reason in found.against)


def test_other_settings_are_noted(tmp_path: Path) -> None:
    write_grid(tmp_path / "a")
    config = {"data": {"max_pairs": 5}, "optim": {"lr": 1.0}, "run": {"seed": 3, "eval_pairs": 9}}
    write_run(tmp_path / "b", 10**6, 1000, law(10**6, 1000), config=config)
    found = study_of(tmp_path)
    assert any("also differ in optim.lr;" in note for note in found.notes)
    assert any("run.eval_pairs" in reason for reason in found.against)


def test_the_order_of_the_runs_does_not_matter(tmp_path: Path) -> None:
    runs = find_runs([str(write_grid(tmp_path, noise=0.003))])
    first, second = (make_study(some, bootstraps=20) for some in (runs, runs[::-1]))
    assert first.fits[0].law.coefficients == second.fits[0].law.coefficients


def test_sizes_are_readable() -> None:
    written = [human(size) for size in (999, 30_000, 1_500_000, 134_515_008, 1_543_714_304)]
    assert written == ["999", "30,000", "1.5M", "135M", "1.54B"]


# Run folders


def test_runs_are_found_at_any_depth_and_once(tmp_path: Path) -> None:
    write_grid(tmp_path)
    (tmp_path / "n1500000" / "unfinished").mkdir()
    one = str(tmp_path / "n1500000" / "d1000")
    assert len(find_runs([one, str(tmp_path)])) == 12
    assert [run.path for run in find_runs([one])] == [one]


def test_curves_are_read_and_torn_lines_left_out(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", 10, 10, 0.5)
    lines = [
        '{"kind": "train", "step": 1, "pairs": 5, "loss": 0.7}',
        '{"kind": "validation", "step": 0, "pairs": 0, "loss": 0.69}',
        '{"kind": "validation", "step": 1, "pairs": 5, "loss": 0.6}',
        '{"kind": "validation", "step": 2, "pai',
    ]
    (folder / "metrics.jsonl").write_text("\n".join(lines))
    assert read_run(folder).curve == ((5, 0.6),)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"validation": {"loss": 0}}, "validation.loss is 0"),
        ({"validation": {}}, "missing required field `loss`"),
        ({"validation": {"loss": None}}, "loss"),
        ({"model": {"name": "m"}}, "parameters"),
    ],
)
def test_a_broken_summary_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    folder = write_run(tmp_path / "run", 10, 10, 0.5, **change)
    with pytest.raises(ScalingError, match=message) as error:
        read_run(folder)
    assert str(folder / "summary.json") in str(error.value)


# The command


def run(*arguments: object) -> int:
    return main(["scaling", *map(str, arguments)])


def test_the_command_writes_json_text_and_pictures(tmp_path: Path, capsys: Any) -> None:
    runs, out = write_grid(tmp_path / "runs"), tmp_path / "out"
    assert run(runs, "--output", out, "--bootstrap", 30) == 0
    printed = capsys.readouterr().out
    assert "The data support the fit." in printed
    assert "Held out: " in printed
    assert "Ten times as many pairs (300,000 pairs, with 135M parameters)" in printed
    result = json.loads((out / "scaling.json").read_text())
    assert result["supported"] is True
    assert result["hold_out"]["inside"] is True
    assert len(result["runs"]) == 12
    beta = result["fits"][0]["coefficients"]["beta"]
    assert beta["low"] <= beta["value"] <= beta["high"]
    text = (out / "scaling.md").read_text()
    assert text.startswith("# Scaling\n\n**The data support the fit.**")
    assert "![loss against size, with fitted curves](scaling.png)" in text
    assert (out / "scaling.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (out / "scaling.svg").read_text()[:2000]
    files = {path.name: path.read_bytes() for path in out.iterdir()}
    assert run(runs, "--output", out, "--bootstrap", 30) == 0
    assert {path.name: path.read_bytes() for path in out.iterdir()} == files


def test_json_goes_to_standard_output_alone(tmp_path: Path, capsys: Any) -> None:
    runs = write_grid(tmp_path / "runs", noise=0.02, flat=True)
    assert run(runs, "--output", tmp_path / "out", "--bootstrap", 30, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["supported"] is False
    assert result["conclusion"][0] == "The data do not support the fit:"


def test_too_few_runs_still_give_a_report(tmp_path: Path, capsys: Any) -> None:
    runs = write_grid(tmp_path / "runs", MODELS[:1], DATA[:2])
    assert run(runs, "--output", tmp_path / "out") == 0
    assert "Nothing can be fitted" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "scaling.json").read_text())["fits"] == []
    assert (tmp_path / "out" / "scaling.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name finished run folders"),
        (["nowhere"], "nowhere: no such folder"),
        (["."], "no finished run in it"),
        (["--grid", "data.max_pairs=1,2"], "give --models and --dataset"),
        (["--launch", "x"], "give --grid and --models and --dataset"),
        (["x", "--bootstrap", "3"], "at least 20"),
        (["x", "--seed", "-1"], "at least 0"),
    ],
)
def test_wrong_use_is_explained(
    tmp_path: Path, monkeypatch: Any, capsys: Any, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*arguments, "--output", "out") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# Grids


def train(tmp_path: Path, models: str, grid: str, *more: object) -> int:
    script = tmp_path / "trainer.py"
    script.write_text(TRAINER)
    return run(
        "--dataset", "out/beer", "--models", models, "--grid", f"data.max_pairs={grid}",
        "--output", tmp_path / "study", "--launch", f"{sys.executable} {script}",
        "--bootstrap", 20, *more,
    )  # fmt: skip


def calls(tmp_path: Path) -> list[str]:
    return (tmp_path / "study" / "calls").read_text().splitlines()


def test_a_grid_is_trained_once_and_then_fitted(tmp_path: Path, capsys: Any) -> None:
    more = ("--set", "optim.lr=1e-5")
    assert train(tmp_path, "small,middle,large", "1000,4000", *more) == 0
    made = [f"{m} {d} 1e-5" for m in ("small", "middle", "large") for d in (1000, 4000)]
    assert calls(tmp_path) == made
    assert "Nothing can be fitted" in capsys.readouterr().out
    assert train(tmp_path, "small,middle,large", "1000,4000,16000", *more) == 0
    assert calls(tmp_path)[6:] == [f"{m} 16000 1e-5" for m in ("small", "middle", "large")]
    shown = capsys.readouterr()
    assert "[1/9] small/data.max_pairs=1000: finished before, loss 0." in shown.err
    assert "[9/9] large/data.max_pairs=16000: done in" in shown.err
    assert "all runs: L = " in shown.out


@pytest.mark.parametrize(
    ("models", "grid", "enough"),
    [
        ("small,middle,large", "1000,4000", False),
        ("small,middle,large", "1000,4000,16000", True),
        ("small", "1000,2000,4000", False),
        ("small", "1000,2000,4000,8000", True),
        ("small", "1000,2000,4000,8000,16000", True),
    ],
)
def test_that_nothing_can_be_fitted_is_said_before_any_training(
    tmp_path: Path, capsys: Any, models: str, grid: str, enough: bool
) -> None:
    assert train(tmp_path, models, grid) == 0
    shown = capsys.readouterr()
    warned, _, trained = shown.err.partition("training\n")
    assert ("nothing can be fitted to this grid, even if every run finishes" in warned) != enough
    assert "nothing can be fitted to this grid" not in trained
    assert ("Nothing can be fitted" in shown.out) != enough


def test_pairs_beyond_those_of_the_dataset_are_no_other_size(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data", make_pairs(30, "train"))
    rows = len(make_pairs(30, "train"))

    def why(*pairs: int) -> str | None:
        axis = f"data.max_pairs={','.join(map(str, pairs))}"
        return why_no_fit(
            make_grid(launch=[], dataset=str(data), models=["small"], axes=[axis], settings=[],
                      config=None, output=tmp_path / "out")
        )  # fmt: skip

    assert why(5, 10, 20, rows) is None
    assert "1 model sizes and 2 data sizes" in str(why(5, rows, 2 * rows, 10 * rows))


def test_a_failed_run_does_not_stop_the_others(tmp_path: Path, capsys: Any) -> None:
    assert train(tmp_path, "broken,small,stops", "1000,4000,16000,64000") == 1
    assert len(calls(tmp_path)) == 12
    shown = capsys.readouterr()
    assert "broken/data.max_pairs=1000: failed with exit code 3" in shown.err
    assert "    out of memory" in shown.err
    assert "stops/data.max_pairs=1000: stopped without a summary.json" in shown.err
    assert "8 of the grid's runs did not finish" in shown.err
    assert "models of 1M parameters: L = " in shown.out
    log = tmp_path / "study" / "logs" / "broken--data.max_pairs=4000.log"
    assert "out of memory" in log.read_text()


def test_a_grid_without_any_finished_run_fails(tmp_path: Path, capsys: Any) -> None:
    assert train(tmp_path, "broken", "1000") == 1
    assert "no run of the grid finished" in capsys.readouterr().err


def test_a_finished_run_with_other_settings_is_not_taken_for_this_one(
    tmp_path: Path, capsys: Any
) -> None:
    assert train(tmp_path, "small", "1000") == 0
    assert train(tmp_path, "small", "1000", "--set", "optim.lr=3e-6") == 2
    assert "was trained with optim.lr=1e-05, but optim.lr=3e-6 is asked for" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("models", "grid", "message"),
    [
        ("small,small", "1000", "a model is named twice"),
        ("small", "1000,1000", "a value is named twice"),
        ("small", "1000,,2000", "write it as section.name=value,value"),
        ("small", "0", "max_pairs"),
    ],
)
def test_a_grid_that_cannot_be_run_is_refused_before_training(
    tmp_path: Path, capsys: Any, models: str, grid: str, message: str
) -> None:
    assert train(tmp_path, models, grid) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "study").exists()


def test_a_misspelt_setting_is_refused_before_training(tmp_path: Path, capsys: Any) -> None:
    assert train(tmp_path, "small", "1000", "--set", "optim.lrr=1") == 2
    assert "did you mean optim.lr?" in capsys.readouterr().err


def test_a_launcher_that_does_not_exist_is_named(tmp_path: Path, capsys: Any) -> None:
    assert train(tmp_path, "small", "1000", "--launch", "no-such-program") == 2
    cause = os.strerror(errno.ENOENT)
    assert f"no-such-program: {cause}; see --launch" in capsys.readouterr().err


def test_a_law_is_set_without_an_e_that_reads_as_a_number() -> None:
    from training.scaling.plot import in_mathtext

    assert in_mathtext("L = 0.619 + 4.26e+04·D^-3") == r"$L = 0.619 + 4.26\times 10^{4} D^{-3}$"
    assert in_mathtext("L = 1 + 2e-05·N^-0.25") == r"$L = 1 + 2\times 10^{-5} N^{-0.25}$"
