"""What a frozen model says of each (prompt, response), once for all arms and seeds.

A linear reward compares two responses to one prompt, so what only the prompt says falls out of
every difference. Whether a response fits its prompt must therefore be in the features: the product
of both, or the words that they share.
"""

import hashlib
import math
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from schemas.ids import hash63
from schemas.words import words_of
from training.console import ProgressDisplay
from training.durable_files import new_file
from training.validation.length import response_length

BUCKETS: Final = 64
"""Files of features; a stopped run has lost at most one of them."""
WORD_DIMENSIONS: Final = 1024
DAMAGED: Final = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
"""What numpy raises for a file that a stop or a disk has damaged."""

Matrix = npt.NDArray[np.float32]


class Text(NamedTuple):
    """What is scored."""

    prompt: str
    response: str

    @property
    def key(self) -> str:
        """Name in the cache, 32 hex digits."""
        digest = hashlib.blake2b(digest_size=16)
        for part in self:
            encoded = part.encode("utf-8", "surrogatepass")
            digest.update(len(encoded).to_bytes(8, "little") + encoded)
        return digest.hexdigest()


class Reader(Protocol):
    """Makes features of texts."""

    fingerprint: str
    """Changes with whatever changes the features."""
    about: str
    """What the features are, in words."""

    def read(self, texts: Sequence[Text]) -> Matrix:
        """Return [texts, features]."""


class WordReader:
    """Counts of hashed words, without a model: a bag of words with L2 norm 1, the share of the
    prompt's words that the response takes up, and the logarithm of its length."""

    def __init__(self, dimensions: int = WORD_DIMENSIONS) -> None:
        self._dimensions = dimensions
        self.fingerprint = f"words-1-{dimensions}"
        self.about = (
            f"words of the response hashed to {dimensions:,} counts, the share of the prompt's "
            "words in it, log length; no model"
        )

    def read(self, texts: Sequence[Text]) -> Matrix:
        """Return [texts, features]."""
        found = np.zeros((len(texts), self._dimensions + 2), np.float32)
        for row, text in enumerate(texts):
            counts = Counter(words_of(text.response))
            for word, count in counts.items():
                found[row, hash63(word) % self._dimensions] += math.log1p(count)
            norm = float(np.sqrt((found[row].astype(np.float64) ** 2).sum()))
            found[row] /= norm or 1.0
            asked = set(words_of(text.prompt))
            found[row, -2] = len(asked & counts.keys()) / max(1, len(asked))
            found[row, -1] = math.log1p(response_length(text.response))
        return found


class ModelReader:
    """A model of transformers whose weights stay: the mean of its last layer over the response's
    tokens, that mean times the mean over the prompt's, and the logarithm of the length.

    Prompt and response are read together, as the tokenizer puts two sequences together.
    """

    def __init__(self, name: str, *, max_length: int, batch_tokens: int, device: str) -> None:
        from training.config import DataConfig, ModelConfig
        from training.evaluation.models import choose_device, fingerprint_of
        from training.model.reward_model import load_located
        from training.model.source import ModelSource, locate_model

        located = locate_model(ModelSource.of(name))
        loaded = load_located(
            located, ModelConfig(layout="padded"), DataConfig(max_length=max_length), seed=0
        )
        self._device = choose_device(device)
        self._model = loaded.model.backbone.to(self._device).eval()
        self._tokenizer: Any = loaded.tokenizer
        self._tokenizer.padding_side = "right"
        self._length, self._batch_tokens = max_length, batch_tokens
        self.about = (
            f"{Path(name).name}, frozen: mean of the last layer over the response, and times that "
            f"over the prompt, up to {max_length} tokens; log length"
        )
        self.fingerprint = hashlib.sha256(
            f"model-1 {fingerprint_of(located, self.about)}".encode()
        ).hexdigest()[:32]

    def read(self, texts: Sequence[Text]) -> Matrix:
        """Return [texts, features]; texts of like lengths are read together."""
        import torch

        sizes = [len(text.prompt) + len(text.response) for text in texts]
        order = sorted(range(len(texts)), key=lambda place: (-sizes[place], place))
        found: list[Matrix | None] = [None] * len(texts)
        batch = max(1, self._batch_tokens // self._length)
        with torch.no_grad():
            for start in range(0, len(order), batch):
                places = order[start : start + batch]
                for place, row in zip(
                    places, self._read_batch([texts[place] for place in places]), strict=True
                ):
                    found[place] = row
        rows = [row for row in found if row is not None]
        return np.stack(rows) if rows else np.zeros((0, 0), np.float32)

    def _read_batch(self, texts: Sequence[Text]) -> Matrix:
        import torch

        encoded = self._tokenizer(
            [text.prompt.strip() or "-" for text in texts],
            [text.response.strip() or "-" for text in texts],
            padding=True,
            truncation="longest_first",
            max_length=self._length,
            return_tensors="pt",
        )
        part = np.array(
            [
                [-1 if one is None else one for one in encoded.sequence_ids(row)]
                for row in range(len(texts))
            ]
        )
        hidden = self._model(**encoded.to(self._device)).last_hidden_state.float().cpu()

        def mean(which: int) -> Any:
            mask = torch.from_numpy((part == which).astype(np.float32))[:, :, None]
            return (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)

        prompt, response = mean(0), mean(1)
        length = [[math.log1p(response_length(text.response))] for text in texts]
        # sqrt(d) brings the products to the scale of the rest; a head standardises them anyway.
        scale = math.sqrt(hidden.shape[-1])
        joined = torch.cat([response, prompt * response * scale, torch.tensor(length)], dim=1)
        return joined.numpy().astype(np.float32)


class Features:
    """Features of texts by key."""

    def __init__(self, keys: Sequence[str], matrix: Matrix) -> None:
        self.matrix = matrix
        self._place = {key: place for place, key in enumerate(keys)}

    def rows(self, texts: Iterable[Text]) -> npt.NDArray[np.int64]:
        """Return the row of ``matrix`` for each text."""
        return np.array([self._place[text.key] for text in texts], np.int64)


def read_features(
    texts: Iterable[Text], reader: Reader, folder: Path, progress: ProgressDisplay
) -> Features:
    """Read each distinct text once, and keep the features in ``folder``, in BUCKETS files.

    A run that was stopped goes on with the next file; the same texts are always read in the same
    batches, so what it gives does not depend on where it was stopped.
    """
    wanted: dict[int, dict[str, Text]] = {number: {} for number in range(BUCKETS)}
    for text in texts:
        key = text.key
        wanted[int(key[:8], 16) % BUCKETS][key] = text
    folder = folder / reader.fingerprint
    folder.mkdir(parents=True, exist_ok=True)
    total = sum(map(len, wanted.values()))
    progress.begin(total)
    keys: list[str] = []
    parts: list[Matrix] = []
    done = 0
    for number, bucket in wanted.items():
        if not bucket:
            continue
        names = sorted(bucket)
        parts.append(_bucket(folder / f"{number:02d}.npz", names, bucket, reader))
        keys += names
        done += len(names)
        progress.update(done)
    progress.end()
    return Features(keys, np.concatenate(parts) if parts else np.zeros((0, 0), np.float32))


def _bucket(path: Path, names: Sequence[str], texts: Mapping[str, Text], reader: Reader) -> Matrix:
    known: dict[str, Matrix] = {}
    if path.is_file():
        try:
            with np.load(path, allow_pickle=False) as stored:
                known = dict(zip(stored["keys"].tolist(), stored["features"], strict=True))
        except DAMAGED:
            known = {}  # it is made again
    missing = [name for name in names if name not in known]
    if missing:
        made = reader.read([texts[name] for name in missing])
        known.update(zip(missing, made, strict=True))
        with new_file(path) as file:
            np.savez(file, keys=np.array(list(known)), features=np.stack(list(known.values())))
    return np.stack([known[name] for name in names])
