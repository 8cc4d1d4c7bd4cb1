"""The snippets of a dataset's card, executed in the folder of the dataset as they stand there.

Only the names of the models are exchanged, since there is no network.
"""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from tests.trainers.conftest import PYTHON, Made
from tests.trainers.parts import part
from tests.trainers.runs import tokenizer
from tests.trainers.test_other_trainers import SWIFT_STUBS, converter_of, plain

PAGE = Path(__file__).parents[2] / "docs" / "trainers.md"


def snippets(card: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", card, re.DOTALL)


@pytest.fixture(scope="module")
def followed(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the dataset's folder in which its card's command was executed."""
    folder = tmp_path_factory.mktemp("followed") / "dataset"
    shutil.copytree(made.folder / "dataset", folder)
    text = (folder / "README.md").read_text(encoding="utf-8")
    (command,) = [line for line in snippets(text, "bash") if line.startswith("forumprefs export")]
    words = shlex.split(command)
    done = subprocess.run(
        [PYTHON.with_name(words[0]), *words[1:]], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def card(followed: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The card; the working directory is its folder."""
    monkeypatch.chdir(followed)
    return (followed / "README.md").read_text(encoding="utf-8")


def named(code: str, made: Made) -> str:
    """The code with our models instead of one that would be downloaded."""
    return code.replace('"Qwen/Qwen3-0.6B"', repr(made.path("policy"))).replace(
        '"a-reward-model"', repr(made.path("reward"))
    )


def section(text: str) -> str:
    return text.partition("## In a trainer\n")[2].partition("\n## ")[0]


def test_the_docs_have_the_snippets_of_the_card(card: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    for language in ("python", "bash", "json", "yml"):
        found = snippets(section(card), language)
        assert found
        for snippet in found:
            assert f"```{language}\n{snippet}```" in page, snippet


@pytest.mark.parametrize("which", ["RewardTrainer", "DPOTrainer", "KTOTrainer", "GRPOTrainer"])
def test_trl(
    card: str, made: Made, which: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One step, on a machine without a GPU: that is set where the snippet does not see it."""
    import transformers

    took: list[Any] = []
    train = transformers.Trainer.train
    prepare = transformers.TrainingArguments.__post_init__

    def noted(self: Any) -> Any:
        took.append(self)
        return train(self)

    def here(self: Any) -> None:
        self.use_cpu, self.bf16, self.report_to = True, False, []
        self.max_steps, self.save_strategy, self.output_dir = 1, "no", str(tmp_path)
        self.max_completion_length = 8  # of GRPO; the others do not look
        prepare(self)

    monkeypatch.setattr(transformers.Trainer, "train", noted)
    monkeypatch.setattr(transformers.TrainingArguments, "__post_init__", here)
    loading, messages, *training = snippets(card, "python")
    (wanted,) = [snippet for snippet in training if which in snippet]
    exec(named("\n".join([loading, messages, wanted]), made), {})
    (trainer,) = took
    assert type(trainer).__name__ == which
    assert trainer.state.global_step == 1
    if which == "RewardTrainer":
        rows = trainer.train_dataset
        assert 0 < len(rows) <= len(made.expected)
        texts = [trainer.processing_class.decode(row["chosen_ids"]) for row in rows]
        assert all("<|im_end|>\n<|im_start|>assistant\n" in text for text in texts)


def test_openrlhf(card: str, made: Made) -> None:
    (command,) = [text for text in snippets(card, "bash") if "openrlhf.cli" in text]
    words = shlex.split(command)
    path = words[words.index("--data.dataset") + 1]
    assert "--data.apply_chat_template" in words
    assert Path(path).is_dir()
    strategy = SimpleNamespace(print=print, is_rank_0=lambda: False)
    part("openrlhf.utils.utils")
    table = part("openrlhf.datasets.utils").blending_datasets(path, None, strategy)
    assert table.to_list() == made.load("openrlhf").to_list()


def test_llama_factory(card: str, made: Made) -> None:
    from datasets import Dataset

    (text,) = snippets(section(card), "json")
    ((name, entry),) = json.loads(text).items()
    convert = converter_of(name, {name: entry})
    rows = [convert(row) for row in Dataset.from_parquet(entry["file_name"])]
    assert len(rows) == len(made.expected)
    assert all(len(row["_response"]) == 2 for row in rows)


def test_axolotl(card: str, made: Made) -> None:
    from datasets import load_dataset

    (text,) = [text for text in snippets(section(card), "yml") if "rl: dpo" in text]
    settings = yaml.safe_load(text)
    (entry,) = settings["datasets"]
    module, _, function = entry["type"].partition(".")
    made_of = getattr(part(f"axolotl.prompt_strategies.dpo.{module}"), function)
    transform, options = made_of(settings)
    read = tokenizer(made.path("policy"))
    table = load_dataset(entry["path"], split=entry["split"])
    rendered = table.select(range(5)).map(
        lambda row: transform(row, tokenizer=read), load_from_cache_file=False, **options
    )
    assert set(rendered.column_names) == {"prompt", "chosen", "rejected"}
    assert all(row["prompt"].endswith("<|im_start|>assistant\n") for row in rendered)


def test_ms_swift(card: str, made: Made) -> None:
    from datasets import Dataset

    (command,) = [text for text in snippets(card, "bash") if text.startswith("swift")]
    words = shlex.split(command)
    columns = json.loads(words[words.index("--columns") + 1])
    core = part("swift.dataset.preprocessor.core", SWIFT_STUBS)
    files = [str(path) for path in Path().glob(words[words.index("--dataset") + 1])]
    assert files
    table = Dataset.from_parquet(files)
    renamed = core.RowPreprocessor.safe_rename_columns(table, columns)
    reader = core.AutoPreprocessor(columns=columns)._get_preprocessor(renamed)
    assert type(reader).__name__ == "MessagesPreprocessor"
    first = reader.preprocess(dict(renamed[0]))
    assert plain(first["messages"]) == plain(table[0]["chosen"])
    assert plain(first["rejected_messages"]) == plain(table[0]["rejected"])


def test_axolotl_reward_models(card: str, made: Made) -> None:
    """The two lines of the docs that make the columns of its strategy for reward models."""
    from datasets import Dataset, load_dataset

    (code,) = [
        code
        for code in snippets(PAGE.read_text(encoding="utf-8"), "python")
        if "axolotl-reward" in code
    ]
    exec(code, {"load_dataset": load_dataset})
    table = Dataset.from_parquet("../axolotl-reward.parquet")
    assert set(table.column_names) == {"system", "input", "chosen", "rejected"}
    assert len(table) == len(made.expected)
