"""Where a run on Flink goes; apart from ``runner`` because options need no Beam runner."""

from dataclasses import dataclass

EMBEDDED = "[local]"
DEFAULT_STALL_MINUTES = 20.0
JAR_VARIABLE = "FORUMPREFS_FLINK_JAR"
"""Environment variable that names curate a job server where no flag does."""


@dataclass(frozen=True)
class FlinkSettings:
    """Where to run and how."""

    master: str = EMBEDDED
    """``host:port`` of a cluster's REST interface, or ``[local]``."""
    jar: str | None = None
    """Beam's Flink job server; None: the one that Beam fetches."""
    workers: int | None = None
    """Parallelism; None: 1 embedded, all slots of a cluster."""
    stall_minutes: float = DEFAULT_STALL_MINUTES
    """Minutes without any progress after which the run is ended."""

    @property
    def is_embedded(self) -> bool:
        """Whether Flink is started for this run."""
        return self.master == EMBEDDED
