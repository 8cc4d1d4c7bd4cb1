"""What OpenRLHF, LLaMA-Factory, axolotl and ms-swift make of our rows, by their own code.

Only the code that reads a row runs; training with them needs a GPU.
"""

import logging
import math
import tempfile
from types import SimpleNamespace
from typing import Any

import pytest

from tests.trainers.conftest import Made
from tests.trainers.parts import part
from tests.trainers.runs import tokenizer


def turns(prompt: list[dict[str, str]], text: str) -> list[dict[str, str]]:
    return [*prompt, {"role": "assistant", "content": text}]


def plain(messages: Any) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in messages]


# OpenRLHF


def openrlhf(made: Made, folder: str, table: Any, *, dpo: bool) -> Any:
    # Its utils read mathematics (pylatexenc) for rewards of another kind.
    part("openrlhf.utils.utils")
    data = SimpleNamespace(
        apply_chat_template=True, prompt_key=None, chosen_key="chosen", rejected_key="rejected"
    )
    return part("openrlhf.datasets.reward_dataset").RewardDataset(
        table,
        tokenizer(made.path(folder)),
        16_384,
        SimpleNamespace(args=SimpleNamespace(data=data)),
        is_dpo=dpo,
        num_processors=1,
    )


@pytest.mark.parametrize("exports", ["exports", "exports-with-margin"])
def test_openrlhf_reads_the_tokens_of_our_trainer(made: Made, exports: str) -> None:
    found = openrlhf(made, "reward", made.load("openrlhf", exports), dpo=False)
    assert len(found) == len(made.expected)
    for (chosen, _, rejected, _, margin), pair in zip(found, made.expected, strict=True):
        assert chosen[0].tolist() == pair["chosen_ids"]
        assert rejected[0].tolist() == pair["rejected_ids"]
        wanted = math.log1p(pair["vote_margin"]) if exports != "exports" else 0
        assert margin == pytest.approx(wanted, abs=1e-5)


def test_openrlhf_finds_the_prompt_of_both_conversations(made: Made) -> None:
    table = made.load("openrlhf")
    found = openrlhf(made, "policy", table, dpo=True)
    assert len(found) == len(table)
    read = tokenizer(made.path("policy"))
    for number, row in enumerate(table):
        prompt, chosen, rejected = (
            read.apply_chat_template(messages, tokenize=False, add_generation_prompt=generate)
            for messages, generate in (
                (row["chosen"][:-1], True),
                (row["chosen"], False),
                (row["rejected"], False),
            )
        )
        assert found.prompts[number] == prompt
        assert found.prompts[number] + found.chosens[number] == chosen
        assert found.prompts[number] + found.rejects[number] == rejected


def test_openrlhf_reads_prompts(made: Made) -> None:
    table = made.load("prompts")
    read = tokenizer(made.path("policy"))
    data = SimpleNamespace(apply_chat_template=True, input_key="prompt", label_key=None)
    strategy = SimpleNamespace(args=SimpleNamespace(data=data), is_rank_0=lambda: False)
    prompts = part("openrlhf.datasets.prompts_dataset").PromptDataset(table, read, strategy)
    assert prompts.prompts == [
        read.apply_chat_template(row["prompt"], tokenize=False, add_generation_prompt=True)
        for row in table
    ]


# LLaMA-Factory


def converter_of(name: str, info: dict[str, Any]) -> Any:
    """The converter of rows for a dataset of a dataset_info.json."""
    names = {"SAFETENSORS_WEIGHTS_NAME": "", "WEIGHTS_NAME": ""}
    module = part("llamafactory.data.converter", {"peft.utils": names})
    (attributes,) = part("llamafactory.data.parser").get_dataset_list([name], info)
    data = SimpleNamespace(media_dir="")
    return module.get_dataset_converter(attributes.formatting, attributes, data)


def llama_factory(made: Made, name: str, entry: dict[str, Any]) -> list[dict[str, Any]]:
    convert = converter_of("ours", {"ours": {"file_name": name, **entry}})
    return [convert(row) for row in made.load(name)]


PAIRS = {
    "ranking": True,
    "columns": {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"},
}


def test_llama_factory_reads_pairs_as_text(made: Made) -> None:
    for row, pair in zip(llama_factory(made, "trl-pairs", PAIRS), made.expected, strict=True):
        ((role, prompt),) = plain(row["_prompt"])
        assert (role, prompt.rstrip("\n")) == ("user", pair["prompt"])
        assert plain(row["_response"]) == [
            ("assistant", pair["chosen"]),
            ("assistant", pair["rejected"]),
        ]


def test_llama_factory_does_not_read_lists_of_messages_as_responses(made: Made) -> None:
    """It wants one message, not a list of one, and falls back to another form without a word."""
    tags = {"role_tag": "role", "content_tag": "content"}
    tags |= {"user_tag": "user", "assistant_tag": "assistant"}
    entry = {**PAIRS, "formatting": "sharegpt", "tags": tags}
    entry["columns"] = {"messages": "prompt", "chosen": "chosen", "rejected": "rejected"}
    rows = llama_factory(made, "trl-chat", entry)
    assert not any(len(row["_response"]) == 2 for row in rows)


# axolotl


def axolotl(name: str, entry: dict[str, Any], made: Made) -> Any:
    module = part(f"axolotl.prompt_strategies.dpo.{name.partition('.')[0]}")
    entry |= {"chat_template": "tokenizer_default"}
    transform, _ = getattr(module, name.partition(".")[2])({"datasets": [entry]})
    return lambda row: transform(dict(row), tokenizer=tokenizer(made.path("policy")))


@pytest.mark.parametrize(
    ("export", "kind", "entry"),
    [
        ("trl-chat", "chat_template.default", {"field_messages": "prompt"}),
        ("openrlhf", "chat_template.argilla_chat", {}),
    ],
)
def test_axolotl_renders_pairs(made: Made, export: str, kind: str, entry: dict[str, Any]) -> None:
    read = tokenizer(made.path("policy"))
    transform = axolotl(kind, entry, made)
    table = made.load(export).select(range(20))
    for row, chat in zip(table, made.load("trl-chat"), strict=False):
        found = transform(row)
        assert found["prompt"] == read.apply_chat_template(
            chat["prompt"], tokenize=False, add_generation_prompt=True
        )
        for side in ("chosen", "rejected"):
            whole = read.apply_chat_template(chat["prompt"] + chat[side], tokenize=False)
            assert found["prompt"] + found[side] == whole.rstrip()


# ms-swift

SWIFT_STUBS: dict[str, dict[str, Any]] = {
    "modelscope.hub.utils.utils": {"get_cache_dir": tempfile.gettempdir},
    "swift.template": {"history_to_messages": None},
    "swift.template.template_inputs": {"normalize_openai_tool_calls": None},
    "swift.utils": {
        "TOOL_KEYS": ("tools",),
        "get_logger": lambda: logging.getLogger("swift"),
        "is_dist": lambda: False,
        "is_master": lambda: True,
        "remove_arrow_padding": lambda value: value,
        "safe_ddp_context": None,
    },
}


def test_ms_swift_reads_conversations(made: Made) -> None:
    core = part("swift.dataset.preprocessor.core", SWIFT_STUBS)
    columns = {"chosen": "messages", "rejected": "rejected_messages"}
    reader = core.MessagesPreprocessor(columns=columns)
    table = made.load("openrlhf")
    renamed = reader.safe_rename_columns(table, columns)
    assert set(renamed.column_names) <= set(reader.standard_keys)
    for source, row in zip(table, renamed, strict=True):
        found = reader.preprocess(dict(row))
        assert plain(found["messages"]) == plain(source["chosen"])
        assert plain(found["rejected_messages"]) == plain(source["rejected"])


# The names that trainers take for their own


def test_the_list_of_names_in_the_docs_holds_those_of_the_released_packages() -> None:
    from trl.trainer import dpo_trainer, grpo_trainer, kto_trainer, reward_trainer, sft_trainer

    from tests.trainer_columns import reserved

    taken: dict[str, set[str]] = {
        "ms-swift": set(
            part("swift.dataset.preprocessor.core", SWIFT_STUBS).RowPreprocessor.standard_keys
        ),
        "TRL": set(),
    }
    for module, name in (
        (dpo_trainer, "DPOTrainer"),
        (grpo_trainer, "GRPOTrainer"),
        (kto_trainer, "KTOTrainer"),
        (reward_trainer, "RewardTrainer"),
        (sft_trainer, "SFTTrainer"),
    ):
        for seen in (True, False):
            trainer = SimpleNamespace(_signature_columns=None, _is_vision_dataset=seen)
            getattr(module, name)._set_signature_columns_if_needed(trainer)
            taken["TRL"] |= set(trainer._signature_columns)
    for trainer, names in taken.items():
        assert names <= reserved()[trainer], f"docs/trainers.md, {trainer}"
