"""Exports as further configurations of a version at the Hub."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

pytest.importorskip("huggingface_hub", reason="the client of the Hub is not installed")

from pipeline.cli import main
from pipeline.dataset.folder import DatasetFolder
from schemas.exports import decode_exports
from schemas.small_files import SmallFileError
from tests.hub import loopback_only
from tests.publishing import REPO, Publisher, publisher

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def user() -> Iterator[Publisher]:
    with loopback_only() as attempts, publisher() as found:
        yield found
    assert not attempts


def exported(dataset: Path, output: Path, to: str = "kto,trl-pairs") -> Path:
    given = ["export", str(dataset), "--to", to, "--output", str(output), "--quiet"]
    assert main([*given, "--overwrite"]) == 0
    return output


@pytest.fixture
def exports(sample: Path, tmp_path: Path) -> Path:
    return exported(sample, tmp_path / "exports")


def below(folder: Path) -> dict[str, bytes]:
    """Files of exports as they are to lie in a version."""
    return {
        f"exports/{path.relative_to(folder).as_posix()}": path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "README.md"
    }


def of_exports(user: Publisher, revision: str) -> dict[str, bytes]:
    files = [path for path in user.hub.files(REPO, revision) if path.startswith("exports/")]
    return {path: user.hub.read(REPO, path, revision) for path in files}


def test_exports_are_configurations_of_the_version(
    user: Publisher, sample: Path, exports: Path, tmp_path: Path
) -> None:
    assert user.publish(sample, "v1.0.0", "--exports", str(exports), "--quiet") == 0
    assert user.main_moved() == 1
    assert of_exports(user, "v1.0.0") == below(exports)
    for shard in DatasetFolder(sample).manifest.shards:
        assert user.hub.read(REPO, shard.path, "v1.0.0") == (sample / shard.path).read_bytes()
    card = user.hub.read(REPO, "README.md", "v1.0.0").decode()
    # `default` is first: load_dataset of a folder without the exports then still finds it.
    configs = yaml.safe_load(card.split("---\n")[1])["configs"]
    assert [config["config_name"] for config in configs] == [
        "default", "duplicates", "rejected", "trl-pairs", "kto",
    ]  # fmt: skip
    assert f'load_dataset("{REPO}", "kto", revision="v1.0.0", split="train")' in card
    # Said and sent once.
    sent = user.hub.bytes_received
    assert user.publish(sample, "v1.0.0", "--exports", str(exports), "--quiet") == 0
    assert (user.hub.bytes_received, user.main_moved()) == (sent, 1)
    # Who pulls the version has the dataset, of which the exports can be made again.
    pulled = tmp_path / "pulled"
    assert user.run("pull", f"{REPO}@v1.0.0", str(pulled), "--quiet") == 0
    assert not (pulled / "exports").exists()
    again = exported(pulled, tmp_path / "again")
    assert below(again) == below(exports)


def test_datasets_loads_an_export_of_a_version(
    user: Publisher, sample: Path, exports: Path
) -> None:
    pytest.importorskip("datasets")
    assert user.publish(sample, "v1.0.0", "--exports", str(exports), "--quiet") == 0
    printed = user.hub.python(
        f"""
        from datasets import load_dataset
        kto = load_dataset("{REPO}", "kto", revision="v1.0.0")
        print({{name: len(split) for name, split in kto.items()}}, kto["train"].column_names)
        print(len(load_dataset("{REPO}", revision="v1.0.0", split="train")))
        """
    )
    first, second = printed.splitlines()
    counts = {c.name: c for c in decode_exports((exports / "export.json").read_bytes()).exports}
    assert first == f"{counts['kto'].rows} ['prompt', 'completion', 'label']"
    assert int(second) == DatasetFolder(sample).manifest.accounting.pairs["train"]


def test_a_version_has_the_exports_it_was_published_with(
    user: Publisher, sample: Path, exports: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert user.publish(sample, "v1.0.0", "--exports", str(exports), "--quiet") == 0
    other = exported(sample, tmp_path / "other", "rankings,kto")
    assert user.publish(sample, "v1.1.0", "--exports", str(other), "--dry-run") == 0
    assert "removes exports/trl-pairs/" in capsys.readouterr().out
    assert user.publish(sample, "v1.1.0", "--exports", str(other), "--quiet") == 0
    assert of_exports(user, "v1.1.0") == below(other)
    assert user.publish(sample, "v1.2.0", "--quiet") == 0
    assert of_exports(user, "v1.2.0") == {}
    assert "exports/" not in user.hub.read(REPO, "README.md", "v1.2.0").decode()
    assert of_exports(user, "v1.0.0") == below(exports)
    # A version does not change, in what is beside the dataset neither.
    assert user.publish(sample, "v1.2.0", "--exports", str(exports), "--quiet") == 3
    assert user.publish(sample, "v1.0.0", "--quiet") == 3


def test_files_of_others_below_exports_are_not_removed(
    user: Publisher, sample: Path, exports: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    user.hub.create_repo(REPO)
    user.hub.commit(REPO, {"exports/kto/theirs.parquet": b"PAR1"})
    given = (sample, "v1.0.0", "--exports", str(exports), "--quiet")
    assert user.publish(*given) == 3
    assert "exports/kto/theirs.parquet" in capsys.readouterr().err
    assert user.publish(*given, "--allow-shrink") == 0
    assert of_exports(user, "v1.0.0") == below(exports)


def test_exports_of_something_else_are_refused(
    user: Publisher,
    sample: Path,
    smaller: Path,
    exports: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert user.publish(smaller, "v1.0.0", "--exports", str(exports)) == 2
    assert "was made from another dataset" in capsys.readouterr().err
    assert user.publish(sample, "v1.0.0", "--exports", str(tmp_path)) == 2
    assert "no export.json there" in capsys.readouterr().err
    shard = next(exports.glob("kto/train-*"))
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1] + b"X")
    assert user.publish(sample, "v1.0.0", "--exports", str(exports)) == 2
    assert f"exports/kto/{shard.name}: was altered" in capsys.readouterr().err
    shard.unlink()
    assert user.publish(sample, "v1.0.0", "--exports", str(exports)) == 2
    assert f"exports/kto/{shard.name}: is missing" in capsys.readouterr().err
    assert user.hub.bytes_received == 0


def test_what_main_says_of_its_exports_has_to_be_readable(
    user: Publisher, sample: Path, exports: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert user.publish(sample, "v1.0.0", "--exports", str(exports), "--quiet") == 0
    user.hub.commit(REPO, {"exports/export.json": b"{}"})
    assert user.publish(sample, "v1.1.0", "--quiet") == 3
    assert "cannot be compared: exports/export.json of main" in capsys.readouterr().err
    assert user.publish(sample, "v1.1.0", "--quiet", "--allow-shrink") == 0
    assert of_exports(user, "v1.1.0") == {}


def test_a_manifest_of_exports_names_nothing_but_exports(exports: Path, tmp_path: Path) -> None:
    content = (exports / "export.json").read_bytes()
    decode_exports(content)
    values = json.loads(content)
    for path in ("../x.parquet", "kto/train-1.parquet", "data/train-00000-of-00001.parquet", ""):
        for name in ("kto", "data"):
            changed = json.loads(content)
            changed["shards"][0] |= {"path": path, "export": name}
            with pytest.raises(SmallFileError):
                decode_exports(json.dumps(changed).encode())
    for change in (
        {"export_version": "2.0.0"},
        {"shards": values["shards"] + values["shards"][:1]},
        {"shards": []},
        {"exports": values["exports"][:1]},
        {"exports": values["exports"] * 2},
        {"margin": 1},
        {"exports": [values["exports"][0] | {"rows": {}}, *values["exports"][1:]]},
        {"exports": [values["exports"][0] | {"rows": {"train": 1}}, *values["exports"][1:]]},
    ):
        with pytest.raises(SmallFileError):
            decode_exports(json.dumps(values | change).encode())
    shutil.rmtree(tmp_path / "exports")
