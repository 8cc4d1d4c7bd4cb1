"""The tokenizer of a saved model, such that transformers alone gives the ids that were trained on.

A class of transformers that belongs to one kind of model (``BertTokenizer``, ``RobertaTokenizer``)
builds itself anew when it is loaded: with its own text around a pair, its own segment ids and its
own list of inputs. Whatever was set on the object that is saved is lost. The general class keeps
what ``tokenizer.json`` and ``tokenizer_config.json`` say, so encoders are saved as that one.
"""

from typing import Any

from tokenizers import Tokenizer, processors

from training.data.template import Template


def portable_encoder_tokenizer(tokenizer: Any, template: Template) -> Any:
    """A tokenizer whose pairs are those of an encoder's template, in any process.

    ``tokenizer(prompt, response)`` gives the ids of
    :meth:`~training.data.tokenizer.PairTokenizer.sequence` (but for its cuts and
    its reading of special tokens in texts), all of one segment, padded on the right: an encoder's
    head reads the first token, which padding on the left would displace.

    Args:
        tokenizer: a fast tokenizer of transformers; it stays as it is.
        template: of :func:`~training.data.template.choose_template` for encoders.
    """
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_truncation()
    backend.no_padding()
    before, between, after = (
        backend.encode(part, add_special_tokens=False).tokens
        for part in (template.before, template.between, template.after)
    )
    fixed = sorted({*before, *between, *after})
    backend.post_processor = processors.TemplateProcessing(
        single=[*_pieces(before), "$A:0", *_pieces(after)],
        pair=[*_pieces(before), "$A:0", *_pieces(between), "$B:0", *_pieces(after)],
        special_tokens=[(token, backend.token_to_id(token)) for token in fixed],
    )
    named = {
        name: token
        for name, token in tokenizer.special_tokens_map.items()
        if isinstance(token, str)
    }
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_input_names=["input_ids", "attention_mask"],
        model_max_length=tokenizer.model_max_length,
        padding_side="right",
        truncation_side="right",
        **named | {"pad_token": template.pad_token},
    )


def _pieces(tokens: list[str]) -> list[str]:
    return [f"{token}:0" for token in tokens]
