"""``forumprefs promote``: what is worse, and what is written."""

import json
import math
from pathlib import Path

import msgspec
import pytest

from tests.preference_data import make_model, make_pairs, write_dataset
from training.commands import main
from training.errors import RegistryError
from training.evaluation.figures import Estimate
from training.evaluation.results import (
    BaselineFigure,
    Calibration,
    Comparison,
    FigureResult,
    ModelDifference,
    ModelResult,
    Results,
    SuiteResult,
)
from training.registry import Entry, describe, judge_and_register, read_promoted, read_results


def suite(name: str, value: float, non_finite: int = 0) -> SuiteResult:
    figure = FigureResult(
        name="pairs", about="", count=9, value=value, low=0.0, high=1.0, half=value, baselines={}
    )
    calibration = Calibration(ece=None, ece_with_temperature=None, temperature=None, bins=())
    return SuiteResult(
        name=name,
        title=name,
        citation="",
        source="",
        sha256={},
        items=9,
        prompts=9,
        comparisons=9,
        ties=0,
        non_finite=non_finite,
        cut=0,
        figures=(figure,),
        breakdown={},
        style=None,
        calibration=calibration,
    )


def results(
    model: str,
    differences: dict[str, tuple[float, float, float]] | None = None,
    *,
    against: str = "old",
    non_finite: int = 0,
    limit: int | None = None,
) -> Results:
    """Of ``model``, beside ``against``; differences are those that `evaluate` writes: old − new."""
    suites = tuple(suite(name, 0.7, non_finite) for name in differences or {"held-out": ()})

    def of(name: str) -> ModelResult:
        return ModelResult(
            model=name,
            fingerprint=f"print of {name}",
            reads="",
            trained_on="acme/prefs@v1.0.0",
            groups=(),
            suites=suites,
        )

    compared = ()
    if differences is not None:
        found = tuple(
            ModelDifference(suite=name, figure=figure, difference=Estimate(*numbers))
            for name, numbers in differences.items()
            for figure in ("pairs", "another figure")
        )
        compared = (Comparison(result=of(against), differences=found),)
    return Results(seed=0, bootstrap=20, limit=limit, result=of(model), compared=compared)


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """With a promoted model called "old"."""
    judge_and_register("old", name="old", results=results("old"), registry=tmp_path, max_drop=0.02)
    return tmp_path


def judged(registry: Path, found: Results, max_drop: float = 0.02) -> Entry:
    return judge_and_register(
        "new", name="new", results=found, registry=registry, max_drop=max_drop, commit="c0ffee"
    )


def promoted(registry: Path) -> str:
    entry = read_promoted(registry)
    assert entry is not None
    return entry.name


def test_the_first_is_promoted(registry: Path) -> None:
    entry = read_promoted(registry)
    assert entry is not None and (entry.name, entry.decision) == ("old", "first")
    assert (registry / "models" / "old.json").read_bytes() == (
        registry / "promoted.json"
    ).read_bytes()


@pytest.mark.parametrize(
    ("old_minus_new", "decision"),
    [
        ((-0.10, -0.15, -0.05), "better"),
        ((-0.10, -0.25, 0.05), "no worse"),
        ((0.00, 0.00, 0.00), "no worse"),
        ((0.01, -0.02, 0.04), "no worse"),
        ((0.01, 0.005, 0.015), "worse"),  # small, and certain
        ((0.10, -0.05, 0.25), "worse"),  # large, and uncertain
        ((math.nan, math.nan, math.nan), "worse"),
    ],
)
def test_decisions(
    registry: Path, old_minus_new: tuple[float, float, float], decision: str
) -> None:
    entry = judged(registry, results("new", {"held-out": old_minus_new}))
    assert entry.decision == decision
    assert promoted(registry) == ("old" if decision == "worse" else "new")
    assert entry.compared_with == "old" and entry.commit == "c0ffee"
    if not math.isnan(old_minus_new[0]):
        written = msgspec.json.decode((registry / "models/new.json").read_bytes(), type=Entry)
        assert written == entry
        assert entry.differences["held-out"].value == 0 - old_minus_new[0]
        assert entry.differences["held-out"].low <= entry.differences["held-out"].high


def test_a_fall_on_one_suite_is_enough(registry: Path) -> None:
    found = {"held-out": (-0.2, -0.3, -0.1), "rm-bench": (0.05, 0.01, 0.09)}
    entry = judged(registry, results("new", found))
    assert entry.decision == "worse"
    assert [reason.partition(":")[0] for reason in entry.reasons] == ["rm-bench"]


def test_the_drop_that_is_allowed(registry: Path) -> None:
    found = results("new", {"held-out": (0.03, -0.01, 0.07)})
    assert judged(registry, found, max_drop=0.02).decision == "worse"
    assert judged(registry, found, max_drop=0.04).decision == "no worse"


def test_a_model_that_diverged_is_worse_than_none(tmp_path: Path) -> None:
    entry = judged(tmp_path, results("new", non_finite=3))
    assert entry.decision == "worse" and read_promoted(tmp_path) is None


def beside_longer(found: Results, *ahead: tuple[float, float, float]) -> Results:
    """The same results, the suites with a baseline each, over which the model is ahead so much."""
    suites = []
    for one, (value, low, high) in zip(found.result.suites, ahead, strict=True):
        longer = BaselineFigure(value=0.6, low=0.5, high=0.7, ahead=Estimate(value, low, high))
        figure = msgspec.structs.replace(one.figures[0], baselines={"longer": longer})
        suites.append(msgspec.structs.replace(one, figures=(figure,)))
    result = msgspec.structs.replace(found.result, suites=tuple(suites))
    return msgspec.structs.replace(found, result=result)


AHEAD, LEVEL = (0.1, 0.02, 0.18), (0.1, -0.01, 0.21)


def test_a_first_model_must_beat_what_reads_no_text(tmp_path: Path) -> None:
    for place, (ahead, decision) in enumerate(
        [(AHEAD, "first"), (LEVEL, "below baselines"), ((math.nan,) * 3, "below baselines")]
    ):
        registry = tmp_path / str(place)
        entry = judged(registry, beside_longer(results("new"), ahead))
        assert entry.decision == decision
        assert (read_promoted(registry) is None) == (decision != "first")
        if ahead == LEVEL:
            said = "\n".join(describe(entry))
            assert "new is not promoted: not shown to be better than scorers that read no" in said
            assert "held-out: +10.0 points [-1.0, +21.0] ahead of 'longer'" in said


def test_the_floor_is_on_held_out_votes_where_there_are_any(tmp_path: Path) -> None:
    """On a benchmark that was made against "longer" that is no floor."""
    found = {"held-out": (0.0, 0.0, 0.0), "llmbar": (0.0, 0.0, 0.0)}
    both = msgspec.structs.replace(results("new", found), compared=())
    assert judged(tmp_path / "a", beside_longer(both, AHEAD, LEVEL)).decision == "first"
    assert judged(tmp_path / "b", beside_longer(both, LEVEL, AHEAD)).decision == "below baselines"


@pytest.mark.parametrize(
    ("new_minus_old", "decision"),
    [((0.0, 0.0, 0.0), "below baselines"), ((0.1, 0.05, 0.15), "better")],
)
def test_no_worse_is_not_enough_below_the_floor(
    registry: Path, new_minus_old: tuple[float, float, float], decision: str
) -> None:
    value, low, high = new_minus_old
    found = results("new", {"held-out": (0 - value, 0 - high, 0 - low)})
    assert judged(registry, beside_longer(found, LEVEL)).decision == decision


def test_force_promotes_and_says_so(registry: Path) -> None:
    worse = results("new", {"held-out": (0.1, 0.05, 0.15)})
    entry = judge_and_register(
        "new", name="new", results=worse, registry=registry, max_drop=0.02, force=True
    )
    assert (entry.decision, entry.forced, promoted(registry)) == ("worse", True, "new")
    assert next(iter(describe(entry))) == "new is promoted by --force, although: worse than old"


def test_a_run_that_has_not_finished_is_not_promoted(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "model").mkdir(parents=True)
    (run / "run.json").write_text("{}")
    for model in (run, run / "model"):
        entry = judge_and_register(
            str(model), name="new", results=results(str(model)), registry=tmp_path / "registry",
            max_drop=0.02,
        )  # fmt: skip
        assert entry.decision == "unfinished"
        assert "has not finished" in entry.reasons[0] and "--resume" in entry.reasons[0]
    (run / "summary.json").write_text("{}")
    assert judged_of(str(run), results(str(run)), tmp_path).decision == "first"
    was = results(str(run))
    was = msgspec.structs.replace(
        was, result=msgspec.structs.replace(was.result, unfinished="evaluated at step 2")
    )
    assert judged_of(str(run), was, tmp_path / "other").decision == "unfinished"


def judged_of(model: str, found: Results, registry: Path) -> Entry:
    return judge_and_register(model, name="new", results=found, registry=registry, max_drop=0.02)


def test_again_changes_nothing(registry: Path) -> None:
    better = results("new", {"held-out": (-0.1, -0.2, -0.05)})
    first = judged(registry, better)
    content = (registry / "promoted.json").read_bytes()
    assert judged(registry, results("new")) == first
    assert (registry / "promoted.json").read_bytes() == content


def test_an_entry_of_the_first_layout_is_read(registry: Path) -> None:
    entry = json.loads((registry / "promoted.json").read_text())
    entry["verdict"] = entry.pop("decision")
    entry["version"] = "1.0.0"
    (registry / "promoted.json").write_text(json.dumps(entry))
    found = read_promoted(registry)
    assert found is not None
    assert (found.name, found.decision) == ("old", "first")


def test_results_of_the_first_layout_are_refused_with_the_way_out(tmp_path: Path) -> None:
    content = json.loads(msgspec.json.encode(results("new")))
    (tmp_path / "results.json").write_text(json.dumps(content))
    assert read_results(tmp_path).result.model == "new"
    (tmp_path / "results.json").write_text(json.dumps({**content, "version": "1.0.0"}))
    with pytest.raises(RegistryError, match="run forumprefs evaluate again"):
        read_results(tmp_path)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (results("new"), "run evaluate with --compare old"),
        (results("new", {"held-out": (0, 0, 0)}, against="older"), "not compared with old"),
        (results("new", {"held-out": (0, 0, 0)}, limit=5), "trial"),
        (results("other", {"held-out": (0, 0, 0)}), "results are of other"),
    ],
)
def test_results_that_do_not_tell(registry: Path, found: Results, said: str) -> None:
    with pytest.raises(RegistryError, match=said):
        judged(registry, found)
    assert promoted(registry) == "old" and not (registry / "models" / "new.json").exists()


def test_other_weights_under_a_promoted_name(registry: Path) -> None:
    with pytest.raises(RegistryError, match="other weights"):
        judge_and_register(
            "new", name="old", results=results("new"), registry=registry, max_drop=0.02
        )


def test_real_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One that has learnt the planted preference, then the one it started as."""
    pairs = [p for split in ("train", "validation", "test") for p in make_pairs(40, split)]
    data = write_dataset(tmp_path / "data", pairs)
    make_model(tmp_path / "base")
    settings = ("data.batch_pairs=16", "data.max_length=128", "optim.lr=3e-3", "run.epochs=4")
    for name, more in (("good", ()), ("bad", ("run.max_steps=1", "optim.lr=1e-9"))):
        flags = [flag for setting in (*settings, *more) for flag in ("--set", setting)]
        where = ["--dataset", str(data), "--model", str(tmp_path / "base"), "--quiet"]
        assert main(["train", *where, "--output", str(tmp_path / name), *flags]) == 0
    registry = ["--registry", str(tmp_path / "registry")]

    def tried(name: str, *against: str) -> int:
        run, output = str(tmp_path / name), str(tmp_path / f"eval-{name}")
        suites = ["--benchmark", f"held-out={data}", "--bootstrap", "60", "--quiet"]
        compare = ["--compare", *against] if against else []
        assert main(["evaluate", "--model", run, "--output", output, *suites, *compare]) == 0
        return main(["promote", run, "--name", name, "--results", output, *registry])

    assert tried("good") == 0
    assert read_results(tmp_path / "eval-good").result.suites[0].headline.value > 0.9
    assert tried("bad") == 2  # it was not compared
    assert tried("bad", str(tmp_path / "good")) == 3
    assert "bad is not promoted: worse than good" in capsys.readouterr().out
    assert promoted(tmp_path / "registry") == "good"
    assert main(["promote", "x", "--name", "y", "--results", str(tmp_path), *registry]) == 2

    # The start of the run alone, in a registry of its own: below the baselines.
    registry = ["--registry", str(tmp_path / "other registry")]
    assert tried("bad") == 3
    said = capsys.readouterr().out
    assert "bad is not promoted: not shown to be better than scorers that read no text" in said
    (tmp_path / "bad" / "summary.json").unlink()
    assert tried("bad") == 3
    assert "its run has not finished" in capsys.readouterr().out
    written = read_results(tmp_path / "eval-bad")
    assert written.result.unfinished is not None and written.result.unfinished in written.warnings
    assert main(
        ["promote", str(tmp_path / "bad"), "--name", "bad", "--results", str(tmp_path / "eval-bad"),
         *registry, "--force"]
    ) == 0  # fmt: skip
    assert promoted(tmp_path / "other registry") == "bad"
