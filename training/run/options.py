"""What a run is told, from the command line and from the file of settings."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from training.config import TrainConfig
from training.model.source import ModelSource


@dataclass(frozen=True)
class TrainOptions:
    """What ``forumprefs train`` was told."""

    dataset: str
    model: str
    output: Path
    config: TrainConfig
    on_existing: Literal["refuse", "resume", "overwrite"] = "refuse"
    device: str = "auto"
    quiet: bool = False
    revision: str | None = None
    """Of the model on the Hub; None: the newest, or as the name says."""
    trust_remote_code: bool = False
    allow_pickle: bool = False
    commit: str | None = None
    """That a run to resume had of a model on the Hub: it stays with it."""

    @property
    def source(self) -> ModelSource:
        """Where the model is loaded from; raises ConfigError."""
        found = ModelSource.of(
            self.model,
            revision=self.revision,
            trust_remote_code=self.trust_remote_code,
            allow_pickle=self.allow_pickle,
        )
        return found if self.commit is None else replace(found, revision=self.commit)
