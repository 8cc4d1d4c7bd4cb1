"""Small datasets and models for tests of training, made in a moment."""

import hashlib
import random
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.arrow import PAIR_SCHEMA
from schemas.manifest import MANIFEST_NAME, Accounting, InputFile, Manifest, Shard
from schemas.pair import PAIR_SCHEMA_VERSION, Pair, text_hash

WORDS = [
    "bread",
    "oven",
    "flour",
    "water",
    "yeast",
    "crust",
    "crumb",
    "slow",
    "fast",
    "warm",
    "cold",
    "fold",
    "rest",
    "bake",
]
GOOD, BAD = "thank", "rubbish"


def sentence(rng: random.Random, least: int, most: int) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(least, most)))


def make_pairs(
    prompts: int, split: str, *, seed: int = 0, site: str = "forum.example", responses: int = 3
) -> list[Pair]:
    """Pairs with a planted preference: a response with GOOD beats one with BAD. Length says
    nothing. Every prompt has pairs of all its responses of different worth."""
    rng = random.Random(f"{seed}/{split}")
    pairs = []
    for number in range(prompts):
        thread = f"{site}:{split}{number}"
        prompt = f"Question {number}\n\n{sentence(rng, 3, 25)}"
        texts = []
        for place in range(rng.randint(2, responses)):
            word = GOOD if place % 2 == 0 else BAD
            texts.append((place, f"{sentence(rng, 2, 12)} {word} {sentence(rng, 2, 12)}"))
        for a, good in texts:
            for b, bad in texts:
                if a % 2 == 0 and b % 2 == 1:
                    pairs.append(one_pair(thread, split, site, prompt, (a, good), (b, bad)))
    return pairs


def one_pair(
    thread: str,
    split: str,
    site: str,
    prompt: str,
    chosen: tuple[int, str],
    rejected: tuple[int, str],
    **changes: Any,
) -> Pair:
    sides: dict[str, Any] = {}
    for name, (number, _) in (("chosen", chosen), ("rejected", rejected)):
        sides |= {
            f"{name}_score": float(number == chosen[0]) * 3,
            f"{name}_is_accepted": False,
            f"{name}_id": f"{thread}-{number}",
            f"{name}_created_at": 1_600_000_000_000 + number,
            f"{name}_url": "",
            f"{name}_author": "",
            f"{name}_author_url": None,
            f"{name}_license": "CC0-1.0",
        }
    values: dict[str, Any] = {
        "pair_id": f"{thread}/{chosen[0]}>{rejected[0]}",
        "source": "threads",
        "site": site,
        "thread_id": thread,
        "split": split,
        "language": "en",
        "prompt": prompt,
        "chosen": chosen[1],
        "rejected": rejected[1],
        "text_hash": text_hash(prompt, chosen[1], rejected[1]),
        "vote_margin": 3.0,
        "window_chosen_score": None,
        "window_rejected_score": None,
        "debiased_margin": None,
        "debiased_standard_error": None,
        "confidence": 0.9,
        "tags": (),
        "prompt_id": thread,
        "prompt_created_at": 1_600_000_000_000,
        "prompt_url": "",
        "prompt_author": "",
        "prompt_author_url": None,
        "prompt_license": "CC0-1.0",
        **sides,
        **changes,
    }
    return Pair(**values)


def write_dataset(folder: Path, pairs: list[Pair], *, row_group: int = 40, shards: int = 2) -> Path:
    """Write a dataset folder as the pipeline does: threads whole in their row group."""
    written = []
    (folder / "data").mkdir(parents=True)
    for split in ("train", "validation", "test"):
        rows = [pair for pair in pairs if pair.split == split]
        groups: list[list[Pair]] = []
        for pair in rows:
            new_thread = not groups or groups[-1][-1].thread_id != pair.thread_id
            if not groups or (new_thread and len(groups[-1]) >= row_group):
                groups.append([])
            groups[-1].append(pair)
        dealt = [groups[i::shards] for i in range(shards) if groups[i::shards]]
        for index, part in enumerate(dealt):
            path = f"data/{split}-{index:05d}-of-{len(dealt):05d}.parquet"
            with pq.ParquetWriter(folder / path, PAIR_SCHEMA) as writer:
                for group in part:
                    table = pa.Table.from_pylist(
                        [msgspec.to_builtins(pair) for pair in group], schema=PAIR_SCHEMA
                    )
                    writer.write_table(table, row_group_size=len(group))
            content = (folder / path).read_bytes()
            written.append(
                Shard(
                    path=path,
                    table="data",
                    split=split,
                    rows=sum(map(len, part)),
                    bytes=len(content),
                    sha256=hashlib.sha256(content).hexdigest(),
                )
            )
    manifest = Manifest(
        pair_schema_version=PAIR_SCHEMA_VERSION,
        recipe={},
        versions={},
        # As of sources that hold many communities: the rows' sites are not named here.
        inputs=(InputFile(site="", name="x", bytes=1, sha256=""),),
        accounting=Accounting(
            posts_read=0,
            posts_kept=0,
            duplicates=0,
            rejected=0,
            pairs={},
            threads={},
            stages=(),
            other_records={},
        ),
        publishable=True,
        shards=tuple(sorted(written, key=lambda shard: shard.path)),
    )
    (folder / MANIFEST_NAME).write_bytes(msgspec.json.encode(manifest))
    return folder


@cache
def _tokenizer_json() -> str:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|fim_pad|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([" ".join([*WORDS, GOOD, BAD, "Question"])] * 3, trainer)
    return tokenizer.to_str()


def make_tokenizer(*, pad: str | None = "<|endoftext|>", chatml: bool = True) -> Any:
    """A byte-level tokenizer whose pad token is its end token, as SmolLM2's is."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    marks = ["<|im_start|>", "<|im_end|>", "<|fim_pad|>"] if chatml else []
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_tokenizer_json()),
        eos_token="<|endoftext|>",
        pad_token=pad,
        additional_special_tokens=marks,
    )


def make_model(folder: Path, *, layers: int = 2, heads: int = 4, **config: Any) -> Path:
    """A random Qwen2 with 2 layers and its tokenizer, as a folder of transformers."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    settings = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "initializer_range": 0.15,  # so that attention is far from uniform
        "tie_word_embeddings": True,
        "pad_token_id": 0,
        "eos_token_id": 0,
        **config,
    }
    Qwen2ForCausalLM(Qwen2Config(**settings)).save_pretrained(folder)
    return folder
