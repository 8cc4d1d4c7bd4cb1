"""What the tests of trainers read, made by forumprefs in the environment of forumprefs.

    python -m tests.trainers.inputs make FOLDER [DATASET]
    python -m tests.trainers.inputs score FOLDER < texts.json > scores.json

``make`` curates the samples (or takes a dataset), exports them, writes a small policy and a small
reward model, and notes which token ids our trainer makes of each pair; ``score`` gives our scores
of texts.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from training.config import DataConfig, ModelConfig
from training.model.reward_model import LoadedModel, load_model
from training.model.save import save_model
from training.validation.score import score_texts

ROOT = Path(__file__).parents[2]
LIMIT = DataConfig(max_length=16_384)
"""Above the tokens of any sample, so that nothing is cut."""

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)


def curate(folder: Path) -> None:
    """The samples with conversations: some prompts are of several turns."""
    forumprefs(
        *("curate", "--input", "stackexchange=samples", "--input", "reddit=samples/reddit"),
        *("--input", "threads=samples/threads", "--reply-depth", "3", "--quiet"),
        *("--output", str(folder)),
    )


def export(dataset: Path, folder: Path, *options: str) -> None:
    names = "trl-pairs,trl-chat,kto,rankings,prompts,openrlhf"
    forumprefs("export", str(dataset), "--to", names, "--output", str(folder), *options)


def forumprefs(*arguments: str) -> None:
    command = Path(sys.executable).with_name("forumprefs")
    done = subprocess.run([command, *arguments], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"forumprefs {' '.join(arguments)}: {done.stderr}")


def make_policy(folder: Path, texts: list[str]) -> None:
    """A random Qwen2 of two layers, with Qwen2's tokenizer trained on our samples."""
    from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer

    tokenizer = Qwen2Tokenizer().train_new_from_iterator(
        [texts],
        vocab_size=1_500,
        new_special_tokens=["<|im_start|>", "<|im_end|>", "<|fim_pad|>"],
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=16_384,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)


def load_reward(folder: Path) -> LoadedModel:
    loaded = load_model(str(folder), ModelConfig(layout="padded"), LIMIT, seed=0)
    loaded.model.eval()
    return loaded


def read_pairs(dataset: Path) -> list[dict[str, Any]]:
    """The rows of the split for training, in the order of the shards."""
    shards = sorted(dataset.glob("data/train-*.parquet"))
    rows: list[dict[str, Any]] = pa.concat_tables(map(pq.read_table, shards)).to_pylist()
    return rows


def make(folder: Path, dataset: str = "") -> None:
    if dataset:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "dataset").symlink_to(Path(dataset).absolute(), target_is_directory=True)
    else:
        curate(folder / "dataset")
    export(folder / "dataset", folder / "exports")
    export(folder / "dataset", folder / "exports-with-margin", "--margin", "log")
    pairs = read_pairs(folder / "dataset")
    texts = [pair[side] for pair in pairs for side in ("prompt", "chosen", "rejected")]
    make_policy(folder / "policy", texts)
    loaded = load_reward(folder / "policy")
    save_model(folder / "reward", loaded)
    expected = [
        {
            "pair_id": pair["pair_id"],
            "prompt": pair["prompt"],
            "vote_margin": pair["vote_margin"],
            "turns": len(pair["prompt_turns"] or [None]),
            **{side: pair[side] for side in ("chosen", "rejected")},
            **{
                f"{side}_ids": loaded.tokens.sequence(pair["prompt"], pair[side]).tolist()
                for side in ("chosen", "rejected")
            },
        }
        for pair in pairs
    ]
    (folder / "expected.json").write_bytes(msgspec.json.encode(expected))


def score(folder: Path) -> None:
    """Pairs of prompt and response from standard input; their scores to standard output."""
    texts = json.load(sys.stdin)
    scores = score_texts(
        load_reward(folder / "reward"),
        [prompt for prompt, _ in texts],
        [[response] for _, response in texts],
        device=torch.device("cpu"),
    )
    json.dump([found for (found,) in scores], sys.stdout)


if __name__ == "__main__":
    {"make": make, "score": score}[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
