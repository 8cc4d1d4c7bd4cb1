"""Reward models that score items: ours, and any sequence classifier of transformers."""

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Protocol

import msgspec
import torch
from torch import Tensor

from schemas.post import TURN_BREAK
from schemas.small_files import SmallFileError, decode_json, read_small
from training.checkpoints.checkpoint import checkpoints
from training.config import DataConfig, ModelConfig
from training.data.collate import MicroBatch
from training.data.context_line import ContextKind
from training.data.template import Template, load_template
from training.errors import ConfigError
from training.evaluation.chat_template import ChatTemplate
from training.evaluation.items import ChatMessage
from training.model.layout_check import check_layout
from training.model.limits import longest_sequence
from training.model.pretrained import read_classifier, read_config, read_tokenizer
from training.model.reward_model import LoadedModel, load_located
from training.model.source import LocatedModel, ModelSource, locate_model
from training.run.folder import CHECKPOINTS_NAME, MODEL_NAME, RUN_NAME, run_folder_of
from training.uncertainty.head_inputs import head_inputs
from training.uncertainty.posterior import LastLayerPosterior
from training.uncertainty.saved import load_uncertainty
from training.validation.score import measure_texts

LONGEST = 4096
"""Tokens of a sequence where neither the run nor the model says fewer."""

DEFAULT_BETA = 0.1
"""Factor of log π − log π₀, as usual in DPO (arXiv 2305.18290)."""

_HASHED = (
    "model*.safetensors",
    "shards/*.safetensors",
    "adapter_*",
    "pytorch_model*.bin",
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.*",
    "merges.txt",
    "*.model",
    "chat_template.*",
    "reward_template.json",
    "*.py",
)

Precision = Literal["auto", "bf16", "fp32"]


class Scored(NamedTuple):
    """What a model says of a response."""

    reward: float
    """Of a language model: the log-probability of the response after its prompt."""
    cut: bool
    """Whether a part of the prompt or of the response did not fit into the model."""
    tokens: int = 0
    """Of a language model: how many tokens' log-probabilities were summed up."""
    deviation: float | None = None
    """Standard deviation of the reward against that of the mean training response; None where it
    was not asked for."""


_CONTEXT_TOLD: Final[dict[ContextKind, str]] = {
    "none": "",
    "site": ", the site in a line before the prompt where it is known",
    "site_tags": ", site and tags in a line before the prompt where they are known",
}


class Scorer(Protocol):
    """A model that can score."""

    fingerprint: str
    """Changes with the weights, the tokenizer, and how texts are read."""
    commit: str | None
    """Of the model on the Hub; None for a folder."""
    context: ContextKind
    """The line of site and tags before a prompt that the model was trained with, which whoever asks
    puts there (``messages_with_context``)."""
    reads: str
    """In words: with which text around prompt and response, and up to how many tokens."""

    def score(
        self, prompts: Sequence[tuple[ChatMessage, ...]], responses: Sequence[Sequence[str]]
    ) -> list[list[Scored]]:
        """Return the reward of each response to each prompt."""


class _Data(msgspec.Struct):
    max_length: int | None = None


class _Started(msgspec.Struct):
    """What is read of ``run.json``."""

    data: _Data
    dataset: str | None = None


@dataclass(frozen=True)
class ModelLocation:
    """Where a model lies."""

    path: str
    """Folder of transformers, or NAME[@REVISION] on the Hub."""
    run: Path | None
    """The run folder that it belongs to."""
    max_length: int | None
    """As it was trained."""
    dataset: str | None
    """What it was trained on."""


def find_model(name: str) -> ModelLocation:
    """Look for a model: a run folder, a checkpoint or model folder in one, any other, or a name.

    Raises ConfigError for a folder without a model.
    """
    folder = Path(name)
    if not folder.is_dir():
        return ModelLocation(name, None, None, None)
    inside = folder
    if not (folder / "tokenizer_config.json").is_file():
        inside = folder / MODEL_NAME
        if not inside.is_dir():
            saved = checkpoints(folder / CHECKPOINTS_NAME)
            if not saved and (folder / "config.json").is_file():
                raise ConfigError(
                    f"model {name}: has no tokenizer (tokenizer_config.json); save the model's "
                    "there, too"
                )
            if not saved:
                raise ConfigError(
                    f"model {name}: neither a model nor a run folder with {MODEL_NAME}/ or "
                    f"{CHECKPOINTS_NAME}/"
                )
            inside = saved[-1]
    run = run_folder_of(folder)
    if run is not None:
        with suppress(OSError, SmallFileError):
            started = decode_json(read_small(run / RUN_NAME), _Started)
            return ModelLocation(str(inside), run, started.data.max_length, started.dataset)
    return ModelLocation(str(inside), None, None, None)


def open_scorer(
    found: ModelLocation,
    *,
    device: torch.device,
    max_length: int | None = None,
    precision: Precision = "auto",
    batch_tokens: int = 16_384,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    intervals: bool = False,
) -> Scorer:
    """Load a model for scoring; the last two but one are those of :class:`ModelSource`.

    ``intervals``: also give deviations, by the uncertainty beside the model; ConfigError where
    there is none.

    A checkpoint of ours is read with its own template. Another model is read with its tokenizer's
    chat template, or, where it has none, with "User: … Assistant: …" (encoders: prompt and
    response as the tokenizer's pair of sequences). Raises ConfigError or TemplateError.
    """
    half = precision == "bf16" or (precision == "auto" and device.type == "cuda")
    located = locate_model(
        ModelSource.of(found.path, trust_remote_code=trust_remote_code, allow_pickle=allow_pickle)
    )
    config = read_config(located)
    length = max_length or found.max_length or longest_of(config)
    template = load_template(located.folder)
    if template is None:
        tokenizer = read_tokenizer(located, config)
        if tokenizer.chat_template:
            if intervals:
                raise _without_intervals(found.path)
            return _ChatScorer(located, config, tokenizer, device, length, half, batch_tokens)
    loaded = load_located(
        located,
        ModelConfig(layout="padded"),
        DataConfig(max_length=length, template="auto"),
        seed=0,
    )
    if loaded.head_is_new:
        raise ConfigError(
            f"model {found.path} has no trained reward head; name a reward model, e.g. the "
            "folder of a run of forumprefs train"
        )
    _share_prompts(loaded, template)
    if template is None and loaded.model.is_encoder:
        if intervals:
            raise _without_intervals(found.path)
        return _PairScorer(loaded, located, device, length, batch_tokens)
    return TemplateScorer(loaded, located, device, length, half, batch_tokens, intervals)


def _without_intervals(path: str) -> ConfigError:
    return ConfigError(
        f"model {path}: was not written by forumprefs train, and only such models can have error "
        "bars"
    )


def _share_prompts(loaded: LoadedModel, template: Template | None) -> None:
    """Have a checkpoint of ours encode a prompt once for all responses, where it can."""
    if template is None or loaded.model.is_encoder:
        return
    try:
        check_layout(loaded, "shared", torch.device("cpu"))
    except ConfigError:  # it was trained in padded rows, too
        loaded.model.use_layout("padded")


class TemplateScorer:
    """A model that is read with four frozen strings; prompts are encoded once where it can."""

    def __init__(
        self,
        loaded: LoadedModel,
        located: LocatedModel,
        device: torch.device,
        length: int,
        half: bool,
        batch_tokens: int,
        intervals: bool = False,
    ) -> None:
        half = half and not loaded.model.is_encoder  # whose head has layers of its own
        if half:
            loaded.model.backbone.to(torch.bfloat16)  # the head stays fp32
        loaded.model.to(device).eval()
        self.loaded, self.device, self.batch_tokens = loaded, device, batch_tokens
        self.folder = located.folder
        name = loaded.template.name
        self.context = loaded.template.context
        frozen = load_template(located.folder) is not None
        self.reads = (
            f"{'its own frozen' if frozen else 'no template of its own: the'} {name} template, "
            f"up to {length:,} tokens, {'bf16' if half else 'fp32'}{_CONTEXT_TOLD[self.context]}"
        )
        self.fingerprint, self.commit = fingerprint_of(located, self.reads), located.commit
        self._posterior: LastLayerPosterior | None = None
        if intervals:
            posterior, record = load_uncertainty(located.folder)
            if record.reads != self.reads:
                raise ConfigError(
                    f"model {located.source.name}: its uncertainty was fitted to texts read with "
                    f"{record.reads}, and now it is {self.reads}; read them that way, or run "
                    "forumprefs uncertainty again"
                )
            self._posterior = posterior.to(device)
            bars = hashlib.sha256(msgspec.json.encode(record)).hexdigest()
            self.fingerprint = hashlib.sha256(f"{self.fingerprint} {bars}".encode()).hexdigest()[
                :32
            ]

    def score(
        self, prompts: Sequence[tuple[ChatMessage, ...]], responses: Sequence[Sequence[str]]
    ) -> list[list[Scored]]:
        texts = [TURN_BREAK.join(message.content for message in prompt) for prompt in prompts]
        found = self._measure(texts, responses)
        tokens = self.loaded.tokens
        cut = []
        for text, answers in zip(texts, responses, strict=True):
            missing, length = tokens.cut_of_prompt(text)
            cut.append(
                [missing > 0 or over > 0 for over in tokens.cut_of_responses(answers, length)]
            )
        return [
            [
                Scored(reward, is_cut, deviation=deviation[0] if deviation else None)
                for (reward, *deviation), is_cut in zip(given, over, strict=True)
            ]
            for given, over in zip(found, cut, strict=True)
        ]

    def _measure(
        self, prompts: Sequence[str], responses: Sequence[Sequence[str]]
    ) -> list[list[tuple[float, ...]]]:
        """The reward of each response, with an uncertainty its deviation, of one forward pass."""
        posterior = self._posterior
        with ExitStack() as stack:
            if posterior is None:
                model = self.loaded.model

                def measure(batch: MicroBatch) -> Tensor:
                    rewards: Tensor = model(batch)
                    return rewards[:, None]
            else:
                read = stack.enter_context(head_inputs(self.loaded.model))

                def measure(batch: MicroBatch) -> Tensor:
                    rewards, features = read(batch)
                    return torch.stack([rewards, posterior.deviation(features)], dim=1)

            return measure_texts(
                self.loaded,
                prompts,
                responses,
                measure,
                device=self.device,
                micro_batch_tokens=self.batch_tokens,
            )


class _ChatScorer:
    """Any classifier with one label, read as transformers itself reads it."""

    context: ContextKind = "none"

    def __init__(
        self,
        located: LocatedModel,
        config: Any,
        tokenizer: Any,
        device: torch.device,
        length: int,
        half: bool,
        batch_tokens: int,
    ) -> None:
        name = located.source.name
        self._tokenizer = tokenizer
        self._chat = ChatTemplate(tokenizer, name)
        dtype = torch.bfloat16 if half else torch.float32
        hf, missing, _ = read_classifier(located, config, dtype=dtype, quantised=True)
        if missing:
            raise ConfigError(
                f"model {name} has no trained reward head: it lacks "
                f"{', '.join(sorted(missing)[:3])}"
            )
        if half and isinstance(getattr(hf, "score", None), torch.nn.Linear):
            # In bf16 the head would round rewards near 10 to multiples of 1/16: ties.
            hf.score.float().register_forward_pre_hook(lambda _, inputs: (inputs[0].float(),))
        self._model = hf.to(device).eval()
        self._device, self._length, self._batch_tokens = device, length, batch_tokens
        pad = hf.config.get_text_config().pad_token_id
        self._pad = pad if pad is not None else self._tokenizer.pad_token_id
        self._alone = pad is None  # transformers refuses to batch such a model
        note = ""
        ids = self._ids((ChatMessage("user", "a"),), "b")
        if pad is not None and ids[-1] == pad:
            note = "; it ends with its pad token, so transformers scores the token before that"
        self.reads = (
            f"its tokenizer's chat template, up to {length:,} tokens (longer ones lose their "
            f"beginning), {'bf16' if half else 'fp32'}{note}"
        )
        self.fingerprint, self.commit = fingerprint_of(located, self.reads), located.commit

    def _ids(self, prompt: tuple[ChatMessage, ...], response: str) -> list[int]:
        text = self._chat.whole(prompt, response)
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    @torch.no_grad()
    def score(
        self, prompts: Sequence[tuple[ChatMessage, ...]], responses: Sequence[Sequence[str]]
    ) -> list[list[Scored]]:
        whole = [
            self._ids(prompt, text)
            for prompt, texts in zip(prompts, responses, strict=True)
            for text in texts
        ]
        rows = [ids[-self._length :] for ids in whole]
        rewards = [0.0] * len(rows)
        order = sorted(range(len(rows)), key=lambda place: -len(rows[place]))
        while order:
            longest = len(rows[order[0]])
            size = 1 if self._alone else max(1, self._batch_tokens // longest)
            batch, order = order[:size], order[size:]
            ids = torch.full((len(batch), longest), self._pad or 0)
            mask = torch.zeros_like(ids)
            for line, place in enumerate(batch):
                ids[line, : len(rows[place])] = torch.tensor(rows[place])
                mask[line, : len(rows[place])] = 1
            logits = self._model(
                input_ids=ids.to(self._device), attention_mask=mask.to(self._device)
            ).logits
            for place, reward in zip(batch, logits[:, 0].double().tolist(), strict=True):
                rewards[place] = reward
        cut = (len(ids) > self._length for ids in whole)
        left = iter([Scored(*one) for one in zip(rewards, cut, strict=True)])
        return [[next(left) for _ in texts] for texts in responses]


class _PairScorer:
    """An encoder of someone else, which reads a pair as its tokenizer makes it: with segment ids
    where it was trained with them."""

    context: ContextKind = "none"

    def __init__(
        self,
        loaded: LoadedModel,
        located: LocatedModel,
        device: torch.device,
        length: int,
        batch_tokens: int,
    ) -> None:
        self._model, self._tokenizer = loaded.model.hf.to(device).eval(), loaded.tokenizer
        self._tokenizer.padding_side = "right"
        self._device, self._length, self._batch_tokens = device, length, batch_tokens
        self.reads = f"its tokenizer's pair of sequences, up to {length:,} tokens, fp32"
        self.fingerprint, self.commit = fingerprint_of(located, self.reads), located.commit

    @torch.no_grad()
    def score(
        self, prompts: Sequence[tuple[ChatMessage, ...]], responses: Sequence[Sequence[str]]
    ) -> list[list[Scored]]:
        pairs = [
            (TURN_BREAK.join(message.content for message in prompt).strip(), text.strip())
            for prompt, texts in zip(prompts, responses, strict=True)
            for text in texts
        ]
        lengths = [len(self._tokenizer(*pair)["input_ids"]) for pair in pairs]
        rewards = [0.0] * len(pairs)
        order = sorted(range(len(pairs)), key=lambda place: -lengths[place])
        while order:
            longest = min(lengths[order[0]], self._length)
            size = max(1, self._batch_tokens // longest)
            batch, order = order[:size], order[size:]
            inputs = self._tokenizer(
                [pairs[place] for place in batch],
                padding=True,
                truncation="longest_first",
                max_length=self._length,
                return_tensors="pt",
            )
            logits = self._model(**inputs.to(self._device)).logits
            for place, reward in zip(batch, logits[:, 0].double().tolist(), strict=True):
                rewards[place] = reward
        cut = (length > self._length for length in lengths)
        left = iter([Scored(*one) for one in zip(rewards, cut, strict=True)])
        return [[next(left) for _ in texts] for texts in responses]


def choose_device(name: str) -> torch.device:
    """The device of ``--device``; raises ConfigError where there is none."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: torch sees no GPU")
    return torch.device(name)


def longest_of(config: Any) -> int:
    """Tokens of a sequence that a model can read, at most LONGEST."""
    return min(longest_sequence(config) or LONGEST, LONGEST)


def fingerprint_of(located: LocatedModel, reads: str) -> str:
    """32 hex digits of the files (on the Hub: of the commit) and of how texts are read."""
    digest = hashlib.sha256(reads.encode())
    if located.commit is None:
        named = located.config.get("transformers_weights")
        for pattern in (*_HASHED, *([named] if named else [])):
            for file in sorted(located.folder.glob(pattern)):
                with file.open("rb") as opened:
                    inner = hashlib.file_digest(opened, "sha256").hexdigest()
                digest.update(f"{file.name} {inner}\n".encode())
    else:
        digest.update(f"{located.source.name}@{located.commit}".encode())
    if located.base is not None:
        digest.update(fingerprint_of(located.base, "base").encode())
    return digest.hexdigest()[:32]
