"""Reading the shards: from disk and from the Hub, checked against the manifest."""

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.hub import HubServer
from tests.patience import PATIENCE_S
from tests.preference_data import make_model, make_pairs, one_pair, write_dataset
from training.data.dataset import PairDataset, PairRows
from training.data.prompt_groups import ShuffleWindows, prompt_runs, shard_by_rank
from training.data.sampler import BatchSampler
from training.data.verification import ShardVerification
from training.errors import TrainingDatasetError
from training.validation.validator import validation_rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reading")
    pairs = make_pairs(60, "train", responses=5) + make_pairs(30, "validation", responses=5)
    return write_dataset(folder / "data", pairs, row_group=25)


def texts_of(rows: PairRows) -> list[tuple[str, str, str]]:
    return list(zip(rows.prompt, rows.chosen, rows.rejected, strict=True))


def test_rows_and_row_groups_are_those_of_the_shards(folder: Path) -> None:
    dataset = PairDataset(str(folder), "train")
    pairs = make_pairs(60, "train", responses=5)
    assert sum(dataset.rows) == len(pairs)
    assert len(dataset.rows) > 3
    rows = [dataset.read(number) for number in range(len(dataset.rows))]
    assert [len(part) for part in rows] == list(dataset.rows)
    found = {texts for part in rows for texts in texts_of(part)}
    assert found == {(pair.prompt, pair.chosen, pair.rejected) for pair in pairs}
    dataset.verify()


def test_the_pairs_of_a_prompt_are_counted(folder: Path) -> None:
    dataset = PairDataset(str(folder), "train")
    for number in range(len(dataset.rows)):
        rows = dataset.read(number)
        for run in prompt_runs(rows):
            assert set(rows.prompt_pairs[run.start : run.stop]) == {len(run)}


def test_conversations_of_one_thread_are_prompts_of_their_own(tmp_path: Path) -> None:
    pairs = [
        one_pair("f:1", "train", "f", "Q", (0, "a"), (1, "b")),
        one_pair("f:1", "train", "f", "Q", (0, "a"), (2, "c")),
        one_pair("f:1", "train", "f", "Q\n\n---\n\na\n\n---\n\nmore", (3, "d"), (4, "e")),
    ]
    rows = PairDataset(str(write_dataset(tmp_path / "d", pairs)), "train").read(0)
    assert list(rows.prompt_pairs) == [2, 2, 1]


def test_a_step_reads_the_same_rows_whatever_was_read_before(folder: Path) -> None:
    dataset = PairDataset(str(folder), "train")
    sampler = BatchSampler(rows=dataset.rows, batch_rows=17, window=2, seed=3, epochs=2)
    windows = ShuffleWindows(dataset)
    straight = [windows.batch(sampler, step) for step in range(sampler.steps)]
    for step in (sampler.steps - 1, 0, 4):
        again = ShuffleWindows(dataset).batch(sampler, step)
        assert again.prompt == straight[step].prompt
        assert again.chosen == straight[step].chosen
        assert np.array_equal(again.vote_margin, straight[step].vote_margin)
    seen = [texts for batch in straight[: sampler.steps_per_epoch] for texts in texts_of(batch)]
    assert len(seen) == len(set(seen)) == sum(dataset.rows)


def test_ranks_get_about_the_same_amount_of_text(folder: Path) -> None:
    dataset = PairDataset(str(folder), "train")
    sampler = BatchSampler(rows=dataset.rows, batch_rows=1000, window=9, seed=0)
    rows = ShuffleWindows(dataset).batch(sampler, 0)
    shares = shard_by_rank(rows, 3)
    dealt = sorted(row for share in shares for run in share for row in run)
    assert dealt == list(range(len(rows)))
    sizes = [
        sum(len(rows.prompt[row]) + len(rows.chosen[row]) for run in share for row in run)
        for share in shares
    ]
    assert max(sizes) < 1.3 * min(sizes)
    assert shard_by_rank(rows, 200).count([]) > 0  # more ranks than prompts: some get none


def test_validation_has_whole_prompts_and_the_same_ones_again(folder: Path) -> None:
    rows = validation_rows(str(folder), 40)
    assert rows is not None
    assert 25 <= len(rows) <= 40
    for run in prompt_runs(rows):
        assert len(run) == rows.prompt_pairs[run.start]
    again = validation_rows(str(folder), 40)
    assert again is not None
    assert again.chosen == rows.chosen
    assert validation_rows(str(folder), 0) is None


def damaged(folder: Path, tmp_path: Path, pattern: str, replacement: str) -> str:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    path = copy / "manifest.json"
    text = path.read_text()
    path.write_text(re.sub(pattern, replacement, text, count=1))
    assert path.read_text() != text
    return str(copy)


@pytest.mark.parametrize(
    ("pattern", "replacement", "message"),
    [
        (r'"pair_schema_version":"2', '"pair_schema_version":"7', "this release reads"),
        (r'"ids_only":false', '"ids_only":true', "forumprefs hydrate"),
        (r'("path":"data/train-00000[^}]*"rows":)(\d+)', r"\g<1>9\2", "the manifest says 9"),
        (r'"path":"data/train-00000', '"path":"data/gone-00000', "gone-00000"),
        (r"\A\{", "[", "manifest.json"),
    ],
)
def test_a_dataset_that_does_not_fit_its_manifest_is_refused(
    folder: Path, tmp_path: Path, pattern: str, replacement: str, message: str
) -> None:
    with pytest.raises(TrainingDatasetError, match=message):
        PairDataset(damaged(folder, tmp_path, pattern, replacement), "train")


def test_an_altered_shard_is_named(folder: Path, tmp_path: Path) -> None:
    copy = damaged(folder, tmp_path, r'("path":"data/train-00001[^}]*"sha256":")..', r"\g<1>00")
    dataset = PairDataset(copy, "train")
    with pytest.raises(TrainingDatasetError, match="train-00001"):
        dataset.verify()
    dataset.verify(0, 2)  # the share that is not its own
    with pytest.raises(TrainingDatasetError, match="train-00001"):
        dataset.verify(1, 2)


def test_what_a_verification_found_reaches_every_rank_once(folder: Path, tmp_path: Path) -> None:
    copy = damaged(folder, tmp_path, r'("path":"data/train-00001[^}]*"sha256":")..', r"\g<1>00")
    ranks = [ShardVerification(PairDataset(copy, "train"), part, 2) for part in range(2)]
    found: list[str | None] = []
    for rank in ranks:
        rank.finish(lambda fault: found.append(fault) or [])  # type: ignore[func-returns-value]
    assert found[0] is None
    assert "train-00001" in str(found[1])
    with pytest.raises(TrainingDatasetError, match="train-00001"):
        ShardVerification(PairDataset(str(folder), "train"), 0, 2).finish(lambda own: [own, *found])


def test_a_save_waits_only_for_the_shards_that_were_trained_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Early in a run SIGTERM must not wait until a large dataset is hashed."""
    dataset = PairDataset(str(folder), "train")
    of_groups = [dataset.shards_of([number]) for number in range(len(dataset.rows))]
    assert [dataset.shards[one[0]].rows for one in of_groups[:1]] == [dataset.shards[0].rows]
    assert dataset.shards_of(range(len(dataset.rows))) == list(range(len(dataset.shards))) == [0, 1]
    go, order = threading.Event(), []

    def verify(number: int) -> None:
        order.append(number)
        if number == 0:
            assert go.wait(PATIENCE_S)
            raise TrainingDatasetError("shard 0")

    monkeypatch.setattr(dataset, "verify_shard", verify)
    found = ShardVerification(dataset, 0, 1, order=[1, 0])
    found.finish(lambda own: [own], {1})  # does not wait for the other one
    assert order[0] == 1
    go.set()
    with pytest.raises(TrainingDatasetError, match="shard 0"):
        found.finish(lambda own: [own])


def test_a_verification_that_is_stopped_hashes_no_more(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = PairDataset(str(folder), "train")
    go, order = threading.Event(), []

    def verify(number: int) -> None:
        order.append(number)
        assert go.wait(PATIENCE_S)

    monkeypatch.setattr(dataset, "verify_shard", verify)
    monkeypatch.setattr("training.data.verification.THREADS", 1)
    found = ShardVerification(dataset, 0, 1)
    found.stop()
    go.set()
    assert len(order) <= 1


def test_forums_are_those_of_the_shares_of_all_ranks(tmp_path: Path) -> None:
    pairs = [
        pair
        for site in ("a.example", "b.example", "c.example")
        for pair in make_pairs(20, "train", site=site)
    ]
    dataset = PairDataset(str(write_dataset(tmp_path / "data", pairs, row_group=10)), "train")
    shares = [dataset.sites(part, 3) for part in range(3)]
    assert set().union(*shares) == set(dataset.sites()) == {pair.site for pair in pairs}


def test_rows_of_another_split_are_refused(tmp_path: Path) -> None:
    stray = one_pair("f:1", "train", "f", "Q", (0, "a"), (1, "b"))
    folder = write_dataset(tmp_path / "d", [stray], shards=1)
    (folder / "data" / "train-00000-of-00001.parquet").rename(
        folder / "data" / "validation-0.parquet"
    )
    manifest = folder / "manifest.json"
    text = manifest.read_text().replace("train-00000-of-00001", "validation-0")
    manifest.write_text(text.replace('"split":"train"', '"split":"validation"'))
    with pytest.raises(TrainingDatasetError, match="split 'train'"):
        PairDataset(str(folder), "validation").read(0)


def test_places_that_are_no_dataset_are_refused_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(TrainingDatasetError, match="forumprefs curate made"):
        PairDataset(str(tmp_path), "train")
    with pytest.raises(TrainingDatasetError, match="no such folder"):
        PairDataset(str(tmp_path / "nothing"), "train")
    with pytest.raises(TrainingDatasetError, match=r"acme/prefs@v1\.0\.0"):
        PairDataset("acme/prefs", "train")


@pytest.fixture
def server() -> object:
    with HubServer() as hub:
        yield hub


def put(server: HubServer, folder: Path) -> None:
    """Make a dataset folder the version acme/prefs@v1.0.0."""
    server.create_repo("acme/prefs")
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    server.commit("acme/prefs", files)
    server.api().create_tag("acme/prefs", tag="v1.0.0", repo_type="dataset")


def test_a_version_on_the_hub_is_streamed_and_checked(
    server: HubServer, folder: Path, tmp_path: Path
) -> None:
    """The same rows as from disk, and a version that is not there is named."""
    put(server, folder)
    out = tmp_path / "rows.json"
    server.python(
        f"""
        import json
        from training.data.dataset import PairDataset
        from training.errors import TrainingDatasetError
        dataset = PairDataset("acme/prefs@v1.0.0", "train")
        dataset.verify()
        rows = [dataset.read(number).chosen for number in range(len(dataset.rows))]
        try:
            PairDataset("acme/prefs@v9.9.9", "train")
        except TrainingDatasetError as error:
            missing = str(error)
        json.dump([rows, dataset.manifest_sha256, missing], open({str(out)!r}, "w"))
        """
    )
    rows, manifest_sha256, missing = json.loads(out.read_text())
    local = PairDataset(str(folder), "train")
    assert rows == [local.read(number).chosen for number in range(len(local.rows))]
    assert manifest_sha256 == local.manifest_sha256
    assert "acme/prefs@v9.9.9" in missing


def test_training_from_the_hub_is_training_from_disk(
    server: HubServer, folder: Path, tmp_path: Path
) -> None:
    put(server, folder)
    make_model(tmp_path / "model")
    places = {"hub": "acme/prefs@v1.0.0", "disk": str(folder)}
    server.python(
        f"""
        from training.commands import main
        for name, place in {places!r}.items():
            code = main(["train", "--dataset", place, "--model", {str(tmp_path / "model")!r},
                "--output", {str(tmp_path)!r} + "/" + name, "--quiet", "--set",
                "data.batch_pairs=32", "--set", "data.max_length=128", "--set", "run.max_steps=2",
                "--set", "run.tensorboard=false"])
            assert code == 0
        """
    )
    saved = [
        next((tmp_path / name).glob("checkpoints/step-00000002/model.safetensors")).read_bytes()
        for name in ("hub", "disk")
    ]
    assert saved[0] == saved[1]


@pytest.fixture
def far(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PairDataset]:
    """A dataset that is not on this disk, and without waits."""
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), "/far", recursive=True)
    monkeypatch.setattr("training.data.dataset.FIRST_WAIT_S", 0)
    dataset = PairDataset("memory://far", "train")
    yield dataset
    memory.rm("/far", recursive=True)


@pytest.mark.parametrize(("faults", "fails"), [(4, False), (5, True)])
def test_a_passing_fault_of_the_network_is_waited_out(
    far: PairDataset, monkeypatch: pytest.MonkeyPatch, faults: int, fails: bool
) -> None:
    opened = far._files.open
    tried = []

    def flaky(path: str, mode: str) -> Any:
        tried.append(path)
        if len(tried) <= faults:
            raise ConnectionError("reset")
        return opened(path, mode)

    monkeypatch.setattr(far._files, "open", flaky)
    if fails:
        with pytest.raises(ConnectionError):
            far.read(0)
    else:
        assert len(far.read(0)) == far.rows[0]
    assert len(tried) == 5


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("prompt", pa.array([1]), "the column prompt is int64, not string"),
        ("vote_margin", pa.array(["3"]), "the column vote_margin is string, not"),
        ("chosen_created_at", pa.array([[1]]), "the column chosen_created_at is list"),
        ("chosen", pa.array([None], pa.string()), "has rows without chosen"),
        ("site", None, "lacks site"),
    ],
)
def test_columns_of_other_types_and_without_texts_are_told(
    tmp_path: Path, column: str, values: Any, message: str
) -> None:
    pair = one_pair("f:1", "train", "f", "Q", (0, "a"), (1, "b"))
    folder = write_dataset(tmp_path / "d", [pair], shards=1)
    shard = folder / "data" / "train-00000-of-00001.parquet"
    table = pq.read_table(shard).drop_columns([column])
    pq.write_table(table if values is None else table.append_column(column, values), shard)
    with pytest.raises(TrainingDatasetError, match=message) as caught:
        PairDataset(str(folder), "train").read(0)
    assert "train-00000-of-00001.parquet" in str(caught.value)


@pytest.mark.parametrize("keep", [0, 3, 400, -9])
def test_a_shard_that_is_cut_off_is_told(tmp_path: Path, keep: int) -> None:
    pair = one_pair("f:1", "train", "f", "Q", (0, "a"), (1, "b"))
    folder = write_dataset(tmp_path / "d", [pair], shards=1)
    shard = folder / "data" / "train-00000-of-00001.parquet"
    shard.write_bytes(shard.read_bytes()[:keep])
    with pytest.raises(TrainingDatasetError, match=r"train-00000-of-00001.parquet"):
        PairDataset(str(folder), "train")
    shard.unlink()
    shard.mkdir()
    with pytest.raises(TrainingDatasetError, match=r"train-00000-of-00001.parquet"):
        PairDataset(str(folder), "train")
