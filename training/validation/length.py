"""The one length of a response: what "longer" means in training, evaluation and their pages."""

from schemas.words import count_words_and_signs


def response_length(text: str) -> int:
    """Words and punctuation marks of the uncut text, whatever the model and its tokenizer.

    What a word is stands in `schemas.words`. An emoji counts as a mark.

    Tokens would depend on the tokenizer, and end at the limit of the model: two responses that are
    both cut would be of one length.
    """
    return count_words_and_signs(text)
