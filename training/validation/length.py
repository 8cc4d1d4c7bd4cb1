"""The one length of a response: what "longer" means in training, evaluation and their pages."""

from schemas.words import WORDS_AND_MARKS


def response_length(text: str) -> int:
    """Words and punctuation marks of the uncut text, whatever the model and its tokenizer.

    Tokens would depend on the tokenizer, and end at the limit of the model: two responses that are
    both cut would be of one length.
    """
    return len(WORDS_AND_MARKS.findall(text))
