"""The dataset card's section on trainers: how to load the pairs in each, in snippets that run.

docs/trainers.md holds the same snippets; ``tests/trainers`` executes them with the trainers.
"""

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
forumprefs export . --to trl-pairs,trl-chat,kto,prompts,openrlhf --output exported
"""

KTO = f"""\
from trl import KTOTrainer

responses = load_dataset("exported", "kto", split="train").shuffle(seed=0)
KTOTrainer(model="{MODEL}", train_dataset=responses).train()
"""

GRPO = f"""\
from trl import GRPOTrainer

prompts = load_dataset("exported", "prompts", split="train")
GRPOTrainer(model="{MODEL}", reward_funcs="a-reward-model", train_dataset=prompts).train()
"""

OPENRLHF = f"""\
deepspeed --module openrlhf.cli.train_rm --model.model_name_or_path {MODEL} \\
    --data.dataset exported/openrlhf --data.apply_chat_template --data.max_len 2048
"""

LLAMA_FACTORY = """\
{
  "forum_pairs": {
    "file_name": "exported/trl-pairs/train-00000-of-00001.parquet",
    "ranking": true,
    "columns": {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"}
  }
}
"""

AXOLOTL = """\
rl: dpo
datasets:
  - path: exported/trl-chat
    split: train
    type: chat_template.default
    chat_template: tokenizer_default
    field_messages: prompt
"""

MS_SWIFT = f"""\
swift rlhf --rlhf_type rm --model {MODEL} \\
    --dataset exported/openrlhf/train-00000-of-00001.parquet \\
    --columns '{{"chosen": "messages", "rejected": "rejected_messages"}}'
"""


def trainers_section() -> str:
    """Return the section of the card of a dataset with texts, in Markdown."""
    return f"""## In a trainer

`prompt`, `chosen` and `rejected` are texts without a chat template, and TRL lays texts end to end.
Make messages of them (TRL's chat template then stands between prompt and response); no other column
has a name that a trainer takes for one of its own:

```python
{MESSAGES}```

A reward model, and a policy by DPO (ORPO, CPO and SimPO take the same rows):

```python
{REWARD}```

```python
{DPO}```

What other trainers take is written by `forumprefs export` (in the folder of this dataset):

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

LLaMA-Factory (`dataset_info.json`):

```json
{LLAMA_FACTORY}```

axolotl:

```yml
{AXOLOTL}```

ms-swift:

```bash
{MS_SWIFT}```
"""
