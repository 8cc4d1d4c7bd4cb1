"""The dataset card's section on trainers: how to load the pairs in each, in snippets that run.

docs/trainers.md holds the same snippets; ``tests/trainers`` executes them with the trainers.
"""

from schemas.manifest import major
from schemas.pair import stored_columns

MODEL = "Qwen/Qwen3-0.6B"
"""The model that the snippets name."""

MESSAGES = """\
def as_messages(pair):
    return {
        "prompt": pair["prompt_turns"] or [{"role": "user", "content": pair["prompt"]}],
        "chosen": [{"role": "assistant", "content": pair["chosen"]}],
        "rejected": [{"role": "assistant", "content": pair["rejected"]}],
    }


messages = pairs.map(as_messages, remove_columns=pairs.column_names)
"""

REWARD = f"""\
from trl import RewardTrainer

RewardTrainer(model="{MODEL}", train_dataset=messages).train()
"""

DPO = f"""\
from trl import DPOTrainer

DPOTrainer(model="{MODEL}", train_dataset=messages).train()
"""

EXPORT = """\
forumprefs export . --to trl-pairs,trl-chat,kto,prompts,openrlhf --output ../exported
"""

KTO = f"""\
from trl import KTOTrainer

responses = load_dataset("../exported", "kto", split="train").shuffle(seed=0)
KTOTrainer(model="{MODEL}", train_dataset=responses).train()
"""

GRPO = f"""\
from trl import GRPOTrainer

prompts = load_dataset("../exported", "prompts", split="train")
GRPOTrainer(model="{MODEL}", reward_funcs="a-reward-model", train_dataset=prompts).train()
"""

OPENRLHF = f"""\
deepspeed --module openrlhf.cli.train_rm --model.model_name_or_path {MODEL} \\
    --data.dataset ../exported/openrlhf --data.apply_chat_template --data.max_len 2048
"""

LLAMA_FACTORY = """\
{
  "forum_pairs": {
    "file_name": "../exported/trl-pairs/train-00000-of-00001.parquet",
    "ranking": true,
    "columns": {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"}
  }
}
"""

AXOLOTL = """\
rl: dpo
datasets:
  - path: ../exported/trl-chat
    split: train
    type: chat_template.default
    chat_template: tokenizer_default
    field_messages: prompt
"""

MS_SWIFT = f"""\
swift rlhf --rlhf_type rm --model {MODEL} \\
    --dataset ../exported/openrlhf/train-*.parquet \\
    --columns '{{"chosen": "messages", "rejected": "rejected_messages"}}'
"""


_NO_OTHERS = """\
no other column
has a name that a trainer takes for one of its own"""
_OTHERS = """\
do not hand
the dataset to a trainer as it is, because TRL and others subtract a column `margin`, here a number
of votes, in their loss, and take `rejected_messages` for theirs"""


def messages_snippet(pair_schema_version: str) -> str:
    """Return the code that makes messages of the pairs of a version of the schema."""
    turns = stored_columns(pair_schema_version).get("prompt_turns")
    if turns is None:
        return MESSAGES.replace('pair["prompt_turns"] or ', "")
    return MESSAGES.replace("prompt_turns", turns)


def trainers_section(pair_schema_version: str) -> str:
    """Return the section of the card of a dataset with texts, in Markdown."""
    names = _OTHERS if major(pair_schema_version) == 1 else _NO_OTHERS
    return f"""## In a trainer

`prompt`, `chosen` and `rejected` are texts without a chat template, and TRL lays texts end to end.
Make messages of them (TRL's chat template then stands between prompt and response); {names}:

```python
{messages_snippet(pair_schema_version)}```

A reward model, and a policy by DPO (ORPO, CPO and SimPO take the same rows):

```python
{REWARD}```

```python
{DPO}```

What other trainers take is written by `forumprefs export`, called in the folder of this dataset (of
a published one `forumprefs pull` makes the folder); the paths below are seen from there, too:

```bash
{EXPORT}```

KTO, from single responses without contradictions, and GRPO, from prompts:

```python
{KTO}```

```python
{GRPO}```

OpenRLHF:

```bash
{OPENRLHF}```

LLaMA-Factory (`dataset_info.json`; one entry for each file, where there are several):

```json
{LLAMA_FACTORY}```

axolotl:

```yml
{AXOLOTL}```

ms-swift:

```bash
{MS_SWIFT}```
"""
