"""The output rows that pairs become."""

from collections.abc import Sequence

from schemas.pair import Message, Pair, text_hash
from schemas.post import Post, Thread, conversation_text, prompt_text
from transforms.pairing.pairs import Decision, pair_id


def pair_row(
    thread: Thread, decision: Decision, split: str, *, conversational: bool = False
) -> Pair:
    """Return the output row of one pair, with the columns in turns if ``conversational``."""
    prompt = thread.prompt
    chosen = thread.responses[decision.chosen]
    rejected = thread.responses[decision.rejected]
    context = [thread.responses[index] for index in decision.context]
    text = conversation_text(prompt, context)
    return Pair(
        pair_id=pair_id(thread, chosen, rejected),
        source=prompt.source,
        site=prompt.site,
        thread_id=thread.id,
        split=split,
        language=prompt.language,
        prompt=text,
        chosen=chosen.text,
        rejected=rejected.text,
        prompt_turns=prompt_turns(prompt, context) if conversational else None,
        chosen_turns=answer_turns(chosen) if conversational else None,
        rejected_turns=answer_turns(rejected) if conversational else None,
        text_hash=text_hash(text, chosen.text, rejected.text),
        chosen_score=decision.chosen_score,
        rejected_score=decision.rejected_score,
        vote_margin=decision.margin,
        window_chosen_score=decision.window_chosen_score,
        window_rejected_score=decision.window_rejected_score,
        confidence=decision.confidence,
        debiased_margin=decision.debiased_margin,
        debiased_standard_error=decision.debiased_standard_error,
        chosen_is_accepted=chosen.accepted,
        rejected_is_accepted=rejected.accepted,
        tags=prompt.tags,
        prompt_id=prompt.id,
        prompt_created_at=prompt.created_at,
        prompt_url=prompt.url,
        prompt_author=prompt.author,
        prompt_author_url=prompt.author_url,
        prompt_license=prompt.license,
        context_ids=tuple(post.id for post in context),
        context_urls=tuple(post.url for post in context),
        context_authors=tuple(post.author for post in context),
        context_licenses=tuple(post.license for post in context),
        chosen_id=chosen.id,
        chosen_created_at=chosen.created_at,
        chosen_url=chosen.url,
        chosen_author=chosen.author,
        chosen_author_url=chosen.author_url,
        chosen_license=chosen.license,
        rejected_id=rejected.id,
        rejected_created_at=rejected.created_at,
        rejected_url=rejected.url,
        rejected_author=rejected.author,
        rejected_author_url=rejected.author_url,
        rejected_license=rejected.license,
    )


def prompt_turns(prompt: Post, context: Sequence[Post]) -> tuple[Message, ...]:
    """Return the prompt in turns that a chat template takes: user first, user last, alternating.

    Roles are counted back from the response. Where that would make the prompt itself the
    assistant's, the first reply is joined to it.
    """
    texts = [prompt_text(prompt), *(post.text for post in context)]
    if len(texts) % 2 == 0:
        texts[:2] = [conversation_text(prompt, context[:1])]
    return tuple(
        Message(role="assistant" if place % 2 else "user", content=text)
        for place, text in enumerate(texts)
    )


def answer_turns(response: Post) -> tuple[Message, ...]:
    """Return a response as the one turn that a chat template takes."""
    return (Message(role="assistant", content=response.text),)
