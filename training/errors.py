"""Every error that a command of training reports; loads nothing, so that naming one is free."""


class ConfigError(Exception):
    """A configuration that cannot be run; the message is for the user."""


class TrainingDatasetError(Exception):
    """A dataset that cannot be trained on; the message names the file and the way out."""


class TemplateError(Exception):
    """A tokenizer that no template fits; the message says why."""


class DivergedError(Exception):
    """Training that cannot continue; the message says what to try."""

    suspect_step: int = 0
    """The last step that was taken: the weights before it were still good."""


class MemoryShortageError(Exception):
    """There is not enough memory; the message says which, and what helps."""


class NothingLearnedError(DivergedError):
    """A run that ended with the weights it began with; the message says what to change."""


class ConnectionLostError(Exception):
    """Another process of a run ended or does not answer; the message says what to look at."""


class SuiteError(Exception):
    """A benchmark file that cannot be read; the message names file, row, and what was expected."""


class ScalingError(Exception):
    """A scaling study that cannot be made as asked; the message is for the user."""


class RegistryError(Exception):
    """A model that cannot be registered; the message says what a person has to mend."""
