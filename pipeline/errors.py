"""Every error that a command reports; loads nothing, so anything may raise them."""

from collections.abc import Sequence

from schemas.exit_codes import ExitCode


class UsageError(Exception):
    """A command line that cannot be run; the message is for the user."""


class PipelineError(RuntimeError):
    """The pipeline raised; the cause is attached."""


class WorkerDiedError(RuntimeError):
    """A worker process ended before the run did."""


class BusyError(PipelineError):
    """Another run writes the same output; the same command may do later."""


class AccountingError(RuntimeError):
    """The sums are off: records were lost or counted twice, so the run's output is not used."""


class InputChangedError(RuntimeError):
    """A file that the run has read is not what it was, so its output is not used."""


class OutputExistsError(UsageError):
    """The output folder is there and the user did not say what to do with it."""


class NothingToReadError(UsageError):
    """None of the inputs can be used."""


class RecipeError(ValueError):
    """A recipe that cannot be run; the message says which option and what would be right."""


class DatasetError(UsageError):
    """A folder that is not a dataset, or a damaged one; the message says which file and what to do.

    ``problems`` are the findings, one sentence each.
    """

    def __init__(self, location: str, problems: Sequence[str], remedy: str = "") -> None:
        self.problems = tuple(problems)
        separator = "\n  " if len(problems) > 1 else " "
        message = f"{location}:{separator}{separator.join(problems)}"
        if remedy:
            message += f"\n{remedy[0].upper()}{remedy[1:]}." if len(problems) > 1 else f"; {remedy}"
        super().__init__(message)


class HydrateError(RuntimeError):
    """Rows whose texts were not found as they were labelled."""


class HubError(RuntimeError):
    """What went wrong at the Hub, in words; ``exit_code`` is what the command ends with.

    Holds text alone, so it can be logged and pickled: the client's own errors carry the request
    with its token. ``transient``: it may work when tried again.
    """

    exit_code = ExitCode.FAILED

    def __init__(self, message: str, transient: bool = False) -> None:
        super().__init__(message, transient)
        self.transient = transient

    def __str__(self) -> str:
        return str(self.args[0])


class RefusedError(HubError):
    """Nothing was changed, and trying again changes nothing; a person has to decide."""

    exit_code = ExitCode.REFUSED


class MissingRepoError(HubError):
    """The repository does not exist, or may not be seen."""


class BadRequestError(HubError):
    """What was sent is not right, or did not arrive as it was sent."""


class Throttled(HubError):  # noqa: N818
    """Try again; ``wait`` are the seconds that the Hub asked to wait, None if it did not say."""

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message, transient=True)
        self.wait = wait

    def __reduce__(self) -> tuple[type, tuple[str, float | None]]:
        return type(self), (str(self), self.wait)


class JobServerError(RuntimeError):
    """The job server did not start."""


class FlinkUnreachableError(RuntimeError):
    """There is no Flink at the address, or it does not answer."""
