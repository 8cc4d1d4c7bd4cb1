"""Opens the model of a command line, for whichever kind of scores was asked for."""

import argparse
from typing import Any

from training.errors import ConfigError
from training.evaluation.models import ModelLocation, Scorer, choose_device, open_scorer
from training.evaluation.policies import open_policy


def open_model(
    found: ModelLocation, arguments: argparse.Namespace, option: str = "--model"
) -> Scorer:
    """Load a reward model for ``--kind reward``, else a causal language model.

    Args:
        arguments: with ``kind``, the options of ``training.model_options``, and ``intervals``
            where they may be asked for.
        option: that names the model, for messages.

    Raises ConfigError or TemplateError.
    """
    settings = model_settings(arguments)
    if arguments.kind == "reward":
        return open_scorer(found, **settings, intervals=getattr(arguments, "intervals", False))
    return open_policy(found, option=option, **settings)


def model_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the options of ``training.model_options`` say, for those who load a model."""
    return {
        "device": choose_device(arguments.device),
        "max_length": arguments.max_length,
        "precision": arguments.precision,
        "batch_tokens": arguments.batch_tokens,
        "trust_remote_code": arguments.trust_remote_code,
        "allow_pickle": arguments.allow_pickle,
    }


def check_model_options(arguments: argparse.Namespace) -> None:
    """Raise ConfigError for values that no model can take, or that do not fit the kind."""
    if arguments.batch_tokens < 16:
        raise ConfigError("--batch-tokens: at least 16")
    if arguments.max_length is not None and arguments.max_length < 1:
        raise ConfigError("--max-length: at least 1")
    if arguments.kind == "reward" and arguments.reference is not None:
        raise ConfigError("--reference is a second language model; say --kind logprob, too")
    if arguments.beta is not None:
        if arguments.kind != "logprob" or arguments.reference is None:
            raise ConfigError("--beta is the factor of --kind logprob with a --reference")
        if not 0 < arguments.beta < float("inf"):
            raise ConfigError("--beta: greater than 0")
