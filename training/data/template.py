"""The text around a prompt and a response, frozen into every checkpoint.

A chat template of a tokenizer is not a pure function (Llama's writes today's date, Qwen's and
SmolLM2's add a system prompt), so a reward model that is trained with one and served with
another reads other tokens. This one is four strings, saved beside the weights.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from schemas.fields import doc
from schemas.small_files import SmallFileError, decode_json, fault_of, read_small
from training.data.context_line import ContextKind, context_jinja
from training.errors import TemplateError

TEMPLATE_NAME = "reward_template.json"
TEMPLATE_VERSION = 1


class Template(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``before + prompt + between + response + after + reward_token``."""

    version: Annotated[int, doc("version of this layout")] = TEMPLATE_VERSION
    name: Annotated[str, doc("'chatml', 'plain' or 'encoder'")]
    before: Annotated[str, doc("before the prompt; special tokens by name")]
    between: Annotated[str, doc("between prompt and response")]
    after: Annotated[str, doc("after the response")]
    reward_token: Annotated[
        str,
        doc("the last token, whose hidden state is scored; '' for encoders, which read the first"),
    ]
    pad_token: Annotated[
        str, doc("fills rows up; occurs nowhere else, so it is never the reward's")
    ]
    context: Annotated[ContextKind, doc("the line before the prompt that it was trained with")] = (
        "none"
    )

    def save(self, folder: Path) -> None:
        """Write ``reward_template.json``."""
        content = msgspec.to_builtins(self)
        if self.context == "none":  # then earlier releases read it, too
            del content["context"]
        encoded = msgspec.json.format(msgspec.json.encode(content))
        (folder / TEMPLATE_NAME).write_bytes(encoded + b"\n")


def load_template(folder: str | Path) -> Template | None:
    """Read a checkpoint's template; None where there is none (a model of someone else)."""
    path = Path(folder) / TEMPLATE_NAME
    if not path.is_file():
        return None
    try:
        found = decode_json(read_small(path), Template)
    except (OSError, SmallFileError) as error:
        raise TemplateError(f"{path}: {fault_of(error)}") from None
    if found.version != TEMPLATE_VERSION:
        raise TemplateError(
            f"{path}: version {found.version}, but this release reads {TEMPLATE_VERSION}"
        )
    return found


def choose_template(
    tokenizer: Any, name: Literal["auto", "chatml", "plain"], *, encoder: bool
) -> Template:
    """Pick the template that fits a tokenizer. May add a pad token to the tokenizer.

    ``chatml`` is what WorldPM trains with: an empty system message, one user and one assistant
    turn, then ``<|endoftext|>``, whose hidden state is scored. Raises TemplateError when the
    tokenizer has no token that can end a sequence.
    """
    if encoder:
        cls, sep = tokenizer.cls_token, tokenizer.sep_token
        if cls is None or sep is None:
            raise TemplateError("the tokenizer has no cls and sep tokens, which an encoder needs")
        if tokenizer.pad_token is None:
            raise TemplateError("the tokenizer has no pad token, which an encoder needs")
        return Template(
            name="encoder",
            before=cls,
            between=sep,
            after=sep,
            reward_token="",
            pad_token=tokenizer.pad_token,
        )
    special = set(tokenizer.get_added_vocab())
    has_chatml = {"<|im_start|>", "<|im_end|>"} <= special
    if name == "chatml" and not has_chatml:
        raise TemplateError(
            "the tokenizer has no <|im_start|> and <|im_end|>; use data.template=plain"
        )
    reward = "<|endoftext|>" if "<|endoftext|>" in special else tokenizer.eos_token
    if reward is None:
        raise TemplateError("the tokenizer has no end-of-text token whose state could be scored")
    first = _first_token(tokenizer)
    if first == "<|im_start|>":  # SmolLM2's BOS, with which chatml begins anyway
        first = ""
    if has_chatml and name != "plain":
        template = Template(
            name="chatml",
            before=first + "<|im_start|>system\n<|im_end|>\n<|im_start|>user\n",
            between="<|im_end|>\n<|im_start|>assistant\n",
            after="<|im_end|>\n",
            reward_token=reward,
            pad_token="",
        )
    else:
        template = Template(
            name="plain",
            # At ends of lines, where tokenizers cut: texts are tokenised apart from all this.
            before=first + "User:\n",
            between="\n\nAssistant:\n",
            after="",
            reward_token=reward,
            pad_token="",
        )
    return msgspec.structs.replace(template, pad_token=_pad_token(tokenizer, template))


def _first_token(tokenizer: Any) -> str:
    """What the tokenizer itself puts in front of every text: its BOS, or nothing."""
    bos = tokenizer.bos_token or ""
    plain_ids = tokenizer("x")["input_ids"]
    return bos if bos and plain_ids and plain_ids[0] == tokenizer.bos_token_id else ""


def _pad_token(tokenizer: Any, template: Template) -> str:
    """Choose a pad token that the model can never score.

    transformers reads the rightmost token that is not the pad token, whatever the attention
    mask says (transformers#35352): with pad == reward token it reads the one before it.
    """
    text = template.before + template.between + template.after
    taken = {template.reward_token, tokenizer.bos_token, tokenizer.eos_token, tokenizer.unk_token}

    def free(token: str | None) -> bool:
        return token not in (None, "", *taken) and str(token) not in text

    if free(tokenizer.pad_token):
        return str(tokenizer.pad_token)
    added = tokenizer.added_tokens_decoder
    candidates = [str(token) for _, token in sorted(added.items()) if token.special]
    for part in ("fim_pad", "pad", "reserved", "unused", "filename", ""):
        for token in candidates:
            if part in token.lower() and free(token):
                return token
    tokenizer.add_special_tokens({"pad_token": "<|forumprefs_pad|>"})
    return "<|forumprefs_pad|>"


def chat_template(template: Template) -> str:
    """Return a Jinja chat template that renders what the trainer fed the model.

    Saved with the tokenizer, so ``tokenizer.apply_chat_template(messages)`` gives the trained
    ids for a prompt and a response of the usual kind (no special tokens in the text, no
    truncation). For a template with a context line, ``site=`` and ``tags=`` are what it names.
    """
    before, between, after = (
        json.dumps(part) for part in (template.before, template.between, template.after)
    )
    reward = json.dumps(template.reward_token)
    return (
        "{%- for message in messages if message['role'] != 'system' -%}"
        f"{{%- if loop.first -%}}{{{{ {before} }}}}{context_jinja(template.context)}{{%- endif -%}}"
        "{{ message['content'] | trim }}"
        f"{{%- if loop.last -%}}{{{{ {after} + {reward} }}}}"
        f"{{%- elif loop.revindex == 2 -%}}{{{{ {between} }}}}"
        "{%- else -%}{{ '\\n\\n---\\n\\n' }}{%- endif -%}"
        "{%- endfor -%}"
    )
