"""The GPU benchmark at toy size, so that it runs when there is a GPU."""

import json
from pathlib import Path

import pytest

from benchmarks import gpu
from tests.preference_data import make_pairs, make_tokenizer, write_dataset


def test_it_measures_every_layout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_dataset(tmp_path / "data", make_pairs(40, "train"))
    make_tokenizer().save_pretrained(tmp_path / "tokenizer")
    given = ["--dataset", str(tmp_path / "data"), "--tokenizer", str(tmp_path / "tokenizer")]
    given += ["--toy", "--seconds", "0", "--variants", "padded,packed,shared"]
    gpu.main([*given, "--output", str(tmp_path / "figures.json")])
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert max(figures["attention"].values()) < 1e-5
    tokens = [figures[name]["tokens_per_pair"] for name in ("padded", "packed", "shared")]
    assert tokens == sorted(tokens, reverse=True)
    assert figures["padded"]["loss"] == pytest.approx(figures["shared"]["loss"], abs=1e-3)
    assert "MFU" in capsys.readouterr().out
