"""One meaning of "longer": words and punctuation marks of the uncut text, wherever it is said."""

from pathlib import Path

import pytest
import torch

from tests.preference_data import make_model, one_pair, write_dataset
from training.config import convert
from training.evaluation.items import Item, conversation
from training.evaluation.style import counted
from training.model.reward_model import load_model
from training.parallel.distributed import DistributedContext
from training.validation.length import response_length
from training.validation.validator import Validator


@pytest.mark.parametrize(
    ("text", "length"),
    [("", 0), ("Two words", 2), ("No, thanks!", 4), ("a" * 90, 1), ("Brot…\n\n- ja", 4)],
)
def test_words_and_marks_are_counted(text: str, length: int) -> None:
    assert response_length(text) == length
    item = Item(
        suite="", id="", subset="", group="held-out", kind="pair", messages=conversation("p"),
        responses=(text, ""), worth=(1.0, 0.0),
    )  # fmt: skip
    assert [one[0] for one in counted([item])[0]] == [length, 0]


def test_responses_that_are_cut_alike_differ_in_length(tmp_path: Path) -> None:
    """Both fill the model up to its limit, and one of them has twice the words."""
    pairs = [
        one_pair(f"f:{n}", "validation", "f", f"Why {n}?", (0, "b" + " oven" * words), (1, other))
        for n, (words, other) in enumerate([(400, "c" + " oven" * 200), (200, "c" + " oven" * 400)])
    ]
    write_dataset(tmp_path / "data", pairs)
    make_model(tmp_path / "model", layers=1)
    settled = {"layout": "shared", "micro_batch_tokens": 16_384}
    config = convert({"data": {"max_length": 128}, "model": settled, "run": {"eval_pairs": 10}})
    loaded = load_model(str(tmp_path / "model"), config.model, config.data, seed=0)
    context = DistributedContext(0, 1, torch.device("cpu"))
    report = Validator(str(tmp_path / "data"), loaded, config, context).validate()
    assert report is not None
    assert report.figures.chosen_longer.pairs == report.figures.chosen_shorter.pairs == 1
    assert report.figures.same_length.pairs == 0
    longer = report.baselines[0]
    assert (longer.name, longer.accuracy.value) == ("longer", pytest.approx(0.5))
