"""The language of each post, and the threads that stay when only some languages are wanted."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any, Final, Literal, NamedTuple

import apache_beam as beam
import msgspec

from schemas.audit import Reason, Stage
from schemas.post import Thread, prompt_text
from transforms.core import (
    Rejection,
    StepResult,
    ThreadOutcome,
    count,
    drop_posts,
    outputs_of,
    show_progress,
    thread_chars,
)
from transforms.filters.identifiers import UNDETERMINED, LanguageIdentifier, load_identifier
from transforms.filters.prose_text import (
    FIRST_SAMPLE_CHARS,
    SAMPLE_CHARS,
    has_prose,
    own_prose,
    sample,
)

TIMES_LIKELIER: Final = 4
"""An unsure post is in its thread's language unless its own guess is this much more probable.

Of 10,895 English messages of programs, fastText has another best guess under 0.65 for 106, of which
this takes 79 for English; of 30,001 translations into eight languages it is unsure of 1,199, of
which this takes 258 for English. In posts, which have more words, none of 3,000 made-up answers in
those languages was (``benchmarks/bilingual_forum.py``).
"""


@dataclass(frozen=True)
class LanguageRules:
    """Which posts stay.

    Attributes:
        languages: ISO 639 codes to keep; None keeps all. 'und' in it keeps the undetermined.
        min_probability: a post whose best language is less probable than this is unsure.
        min_prose_chars: a post with less prose takes the language of its thread; a character of
            Chinese, Japanese or Korean counts as three.
        kept_sources: kinds of source whose posts stay whatever their language.
    """

    languages: tuple[str, ...] | None = ("en",)
    min_probability: float = 0.65
    min_prose_chars: int = 50
    kept_sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.languages is not None and not self.languages:
            raise ValueError("languages: name at least one, or None for all")
        if not 0 <= self.min_probability <= 1:
            raise ValueError(f"min_probability {self.min_probability}: must be 0 to 1")
        if self.min_prose_chars < 0:
            raise ValueError(f"min_prose_chars {self.min_prose_chars}: must be >= 0")


class Guess(NamedTuple):
    """The best language of a text, how probable it is, and the text that was identified."""

    language: str
    probability: float
    text: str


class _Reading(NamedTuple):
    """The prose of the posts of a thread, prompt first, and what was found for it.

    `guesses` has None for a post with too little prose to be judged on its own.
    """

    proses: list[str]
    guesses: list[Guess | None]


def label_threads(
    threads: Sequence[Thread], identifier: LanguageIdentifier, rules: LanguageRules
) -> list[ThreadOutcome]:
    """Set the language of every post, and refuse the posts in languages that are not wanted.

    A post with `min_prose_chars` of prose or more is identified on its own, by the prose that it
    does not quote if that is enough. What happens then:

    - `min_probability` or more: the post is in that language, whatever its thread is in.
    - Less: it is unsure. It takes the language of its thread if that is its own best guess, or if
      the guess is at most :data:`TIMES_LIKELIER` times as probable. Otherwise a response is 'und',
      and a prompt is in its best guess; but a prompt is refused only if neither its guess nor its
      thread's language is wanted, as all its responses would go with it.
    - A shorter post, such as an answer that is only code, takes the language of its thread.

    The language of a thread is the one in which most of its sure posts' prose is written, each
    counted up to SAMPLE_CHARS; of equals, the one that comes first in the thread. Without a sure
    post it is the best guess for all prose of the thread, if that is at least half of
    `min_probability`; otherwise 'und'. It depends on the texts and their order in the thread,
    never on the languages wanted.

    A post is identified by a sample of FIRST_SAMPLE_CHARS; where that leaves more than a third of
    the doubt that `min_probability` admits, by one of SAMPLE_CHARS in its place
    (:func:`guess_by_samples`).

    The identifier is called at most three times for all threads together. Outcomes are in their
    order.
    """
    readings = _read_threads(threads, identifier, rules)
    languages = _thread_languages(readings, identifier, rules)
    return [
        _label(thread, reading, language, identifier, rules)
        for thread, reading, language in zip(threads, readings, languages, strict=True)
    ]


def _read_threads(
    threads: Sequence[Thread], identifier: LanguageIdentifier, rules: LanguageRules
) -> list[_Reading]:
    enough = rules.min_prose_chars
    proses = [
        [
            own_prose(prompt_text(thread.prompt), enough),
            *(own_prose(post.text, enough) for post in thread.responses),
        ]
        for thread in threads
    ]
    judged = [[has_prose(words, enough) for words in posts] for posts in proses]
    texts = [
        words
        for posts, alone in zip(proses, judged, strict=True)
        for words in compress(posts, alone)
    ]
    guesses = iter(guess_by_samples(texts, identifier, rules))
    return [
        _Reading(posts, [next(guesses) if itself else None for itself in alone])
        for posts, alone in zip(proses, judged, strict=True)
    ]


def guess_by_samples(
    proses: Sequence[str], identifier: LanguageIdentifier, rules: LanguageRules
) -> list[Guess]:
    """Guess the language of each prose by a short sample, and again by a longer one if in doubt.

    The doubt after FIRST_SAMPLE_CHARS may be a third of what `min_probability` admits. An
    identifier that never doubts a short text gets the longer sample only. One guess a prose, in
    their order; `text` is the sample that it was made by.
    """
    if not identifier.doubts_short_texts:
        return _guess([sample(words) for words in proses], identifier)
    guesses = _guess([sample(words, FIRST_SAMPLE_CHARS) for words in proses], identifier)
    quite_sure = 1 - (1 - rules.min_probability) / 3
    again = [
        place
        for place, (words, guess) in enumerate(zip(proses, guesses, strict=True))
        if guess.probability < quite_sure and len(words) > FIRST_SAMPLE_CHARS
    ]
    if again:
        longer = _guess([sample(proses[place]) for place in again], identifier)
        for place, guess in zip(again, longer, strict=True):
            guesses[place] = guess
    return guesses


def _guess(texts: list[str], identifier: LanguageIdentifier) -> list[Guess]:
    found = identifier.identify(texts)
    return [Guess(*guess, text) for guess, text in zip(found, texts, strict=True)]


def _thread_languages(
    readings: Sequence[_Reading], identifier: LanguageIdentifier, rules: LanguageRules
) -> list[Guess]:
    """Language of each thread; `text` is only set where it is a guess for all prose."""
    languages: list[Guess | None] = []
    pooled = []
    for reading in readings:
        chars: dict[str, int] = {}
        for words, guess in zip(*reading, strict=True):
            if guess is not None and guess.probability >= rules.min_probability:
                counted = min(len(words), SAMPLE_CHARS)
                chars[guess.language] = chars.get(guess.language, 0) + counted
        if chars:
            languages.append(Guess(max(chars, key=chars.__getitem__), 1.0, ""))
        else:
            languages.append(None)
            pooled.append(sample(" ".join(filter(None, reading.proses))))
    guesses = iter(_guess(pooled, identifier))
    return [language or next(guesses) for language in languages]


def _label(
    thread: Thread,
    reading: _Reading,
    shared: Guess,
    identifier: LanguageIdentifier,
    rules: LanguageRules,
) -> ThreadOutcome:
    common = shared.language if shared.probability >= rules.min_probability / 2 else UNDETERMINED
    wanted = None if thread.prompt.source in rules.kept_sources else rules.languages
    refused: dict[str, Rejection] = {}
    labelled = []
    posts = (thread.prompt, *thread.responses)
    for post, guess in zip(posts, reading.guesses, strict=True):
        if guess is None:
            guess, language = shared, common
        elif guess.probability >= rules.min_probability:
            language = guess.language
        else:
            language = _unsure(guess, common, identifier, post.is_prompt, wanted)
        if wanted is not None and language not in wanted:
            detail = f"{guess.language} {guess.probability:.2f}"
            refused[post.id] = Rejection(Reason.LANGUAGE, detail)
        labelled.append(msgspec.structs.replace(post, language=language))
    labelled_thread = Thread(prompt=labelled[0], responses=tuple(labelled[1:]))
    return drop_posts(labelled_thread, refused, Stage.LANGUAGE)


def _unsure(
    guess: Guess,
    common: str,
    identifier: LanguageIdentifier,
    is_prompt: bool,
    wanted: tuple[str, ...] | None,
) -> str:
    """Language of an unsure post in a thread that is in `common`."""
    if guess.language == common or common == UNDETERMINED:
        fits = True
    else:
        probable = identifier.probability(guess.text, common)
        fits = probable * TIMES_LIKELIER >= guess.probability
    if not is_prompt:
        return common if fits else UNDETERMINED
    either = [common, guess.language] if fits else [guess.language, common]
    either = [language for language in either if language != UNDETERMINED] or [UNDETERMINED]
    return next((code for code in either if wanted is None or code in wanted), either[0])


@dataclass
class LabelLanguages(beam.PTransform):
    """Thread → Thread with the language of every post."""

    rules: LanguageRules
    model: Literal["fasttext", "langdetect"] = "fasttext"

    def expand(self, threads: beam.PCollection[Thread]) -> StepResult:
        show_progress(LabelLanguages, "out-threads", "threads in a wanted language", Stage.LANGUAGE)
        label = beam.ParDo(_Label(self.rules, self.model))
        outputs = threads | "Label" >> label.with_outputs("rejected", main="kept")
        return StepResult(Stage.LANGUAGE, outputs.kept, outputs.rejected)


class _Label(beam.DoFn):
    # In batches, so that model and patterns stay in the processor's cache: a fifth faster.
    BATCH_THREADS = 256
    BATCH_CHARS = 4 * 1024 * 1024

    def __init__(self, rules: LanguageRules, model: Literal["fasttext", "langdetect"]) -> None:
        self._rules = rules
        self._model: Literal["fasttext", "langdetect"] = model

    def setup(self) -> None:
        self._identifier = load_identifier(self._model)

    def start_bundle(self) -> None:
        self._batch: list[Thread] = []
        self._chars = 0

    def process(self, thread: Thread) -> Iterator[Any]:
        self._batch.append(thread)
        self._chars += thread_chars(thread)
        if len(self._batch) >= self.BATCH_THREADS or self._chars >= self.BATCH_CHARS:
            yield from self._flush()

    def finish_bundle(self) -> Iterator[Any]:
        window = beam.transforms.window.GlobalWindows
        for output in self._flush():
            if isinstance(output, beam.pvalue.TaggedOutput):
                value = window.windowed_value_at_end_of_window(output.value)
                yield beam.pvalue.TaggedOutput(output.tag, value)
            else:
                yield window.windowed_value_at_end_of_window(output)

    def _flush(self) -> Iterator[Any]:
        outcomes = label_threads(self._batch, self._identifier, self._rules)
        count(LabelLanguages, "in-threads", len(self._batch))
        count(LabelLanguages, "out-threads", sum(o.thread is not None for o in outcomes))
        for outcome in outcomes:
            yield from outputs_of(outcome)
        self._batch = []
        self._chars = 0
