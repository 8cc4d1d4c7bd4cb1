"""``forumprefs score``: scores the responses of files and writes their rows with the scores."""

import argparse
import fcntl
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.text import Text

from schemas.exit_codes import ExitCode
from training.console import ProgressDisplay, make_console
from training.errors import ConfigError, MemoryShortageError, SuiteError, TemplateError
from training.evaluation.items import ChatMessage, messages_with_context
from training.evaluation.models import DEFAULT_BETA, Scored, Scorer, find_model
from training.evaluation.open_model import check_model_options, open_model
from training.memory_errors import batch_remedy, memory_errors
from training.model.source import ModelSource
from training.run.folder import why_unfinished
from training.scoring.candidates import Candidates
from training.scoring.columns import Measures, best_names, column_names
from training.scoring.files import RowFile, candidates_of, input_files, look_through
from training.scoring.outputs import BEST_FOLDER, Answers, former_record, write_outputs
from training.scoring.record import RECORD_NAME, ScoredBy, ScoreRecord, summary
from training.scoring.score_log import ScoreLog

LOGS_FOLDER = ".scores"
PART_CHARACTERS = 400_000
"""Text that is scored between two writes; prompts are shared within it."""


def score(arguments: argparse.Namespace) -> int:
    """Score what is asked for and write it; returns the exit code."""
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    console = make_console(quiet=arguments.quiet)
    try:
        with memory_errors(lambda: batch_remedy(arguments.batch_tokens, "scored rows are kept")):
            record = _score(arguments, console)
    except (ConfigError, SuiteError, TemplateError) as error:
        errors.print(Text(f"forumprefs score: {error}"))
        return ExitCode.USAGE
    except MemoryShortageError as error:
        errors.print(Text(f"forumprefs score: {error}"))
        return ExitCode.FAILED
    except OSError as error:  # a full disk
        errors.print(
            Text(f"forumprefs score: {error}; what is scored is kept, the same command continues")
        )
        return ExitCode.FAILED
    except KeyboardInterrupt:
        errors.print(Text("forumprefs score: interrupted; the same command continues from here"))
        return ExitCode.INTERRUPTED
    if not arguments.quiet:
        make_console(sys.stdout).print(
            summary(record, Path(arguments.output)), markup=False, soft_wrap=True
        )
    return ExitCode.FINISHED


def _score(arguments: argparse.Namespace, console: Console) -> ScoreRecord:
    measures = _measures(arguments)
    if arguments.revision is not None:
        ModelSource.of(arguments.model, revision=arguments.revision)  # of a model on the Hub only
        arguments.model = f"{arguments.model}@{arguments.revision}"
    paths = input_files(arguments.input)
    output = Path(arguments.output)
    _check_output(output, paths)
    if not arguments.overwrite:
        _check_former(output, arguments)
    with console.status(f"reading {arguments.input}"):
        files = [look_through(path) for path in paths]
        for file in files:
            _check_columns(file, measures, best=arguments.best_of)
    with locked(output):
        models = [_scored_by(arguments.model, "--model", files, arguments, console)]
        if arguments.reference is not None:
            models.append(_scored_by(arguments.reference, "--reference", files, arguments, console))
        with console.status(f"writing {output}"):
            return write_outputs(files, models, measures, output, best_of=arguments.best_of)


def _measures(arguments: argparse.Namespace) -> Measures:
    check_model_options(arguments)
    if arguments.per_token and arguments.kind != "logprob":
        raise ConfigError("--per-token is of --kind logprob")
    if arguments.intervals and arguments.kind != "reward":
        raise ConfigError("--intervals are of reward models (--kind reward)")
    if not arguments.name.isidentifier():
        raise ConfigError(f"--name {arguments.name!r}: letters, digits and _ only")
    return Measures(
        name=arguments.name,
        logprob=arguments.kind == "logprob",
        reference=arguments.reference is not None,
        beta=DEFAULT_BETA if arguments.beta is None else arguments.beta,
        per_token=arguments.per_token,
        intervals=arguments.intervals,
    )


def _check_output(output: Path, paths: Sequence[Path]) -> None:
    """Raise ConfigError where a file that is not ours would be written over."""
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--output {output}: {error.strerror}") from None
    folders = [output.resolve(), (output / BEST_FOLDER).resolve()]
    there = [path for path in paths if path.resolve().parent in folders]
    if not ((output / RECORD_NAME).exists() or (output / LOGS_FOLDER).exists()):
        written = [folder / path.name for folder in folders for path in paths]
        there += [path for path in written if path.exists()]
    if there:
        raise ConfigError(f"--output {output}: {there[0].name} is there already; name a new folder")


def _check_former(output: Path, arguments: argparse.Namespace) -> None:
    """Raise ConfigError where the folder holds what other models said."""
    former = former_record(output)
    if former is None:
        return
    models = [one.model for one in (former.model, former.reference) if one is not None]
    now = [name for name in (arguments.model, arguments.reference) if name is not None]
    if (former.kind, models) != (arguments.kind, now):
        by = " and ".join(models)
        raise ConfigError(
            f"--output {output}: holds scores ({former.kind}) by {by}; name another folder, or "
            "--overwrite replaces them"
        )


def _check_columns(file: RowFile, measures: Measures, *, best: bool) -> None:
    """Raise SuiteError where names clash, before anything is scored."""
    wanted = dict.fromkeys(column_names(file.form, measures))
    if best:
        if file.form not in ("responses", "pair"):
            raise SuiteError(
                f"{file.path}: --best-of needs several responses in a row (a column responses, or "
                f"chosen and rejected); here each row has one {file.form}"
            )
        wanted |= dict.fromkeys((*best_names(measures), "response"))
    if twice := [name for name in wanted if name in file.columns]:
        raise SuiteError(f"{file.path}: has a column {twice[0]} already; choose another --name")


@contextmanager
def locked(output: Path) -> Iterator[None]:
    """Keep others from writing the folder; raises ConfigError where another process does."""
    folder = output / LOGS_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"--output {output}: another forumprefs score writes it") from None
        except OSError as error:  # some network file systems
            raise ConfigError(
                f"--output {output}: its file system does not lock files ({error.strerror}); name "
                "a folder on another one"
            ) from None
        yield


def _scored_by(
    name: str,
    option: str,
    files: Sequence[RowFile],
    arguments: argparse.Namespace,
    console: Console,
) -> Answers:
    """Have a model score what it has not scored before; only one is in memory at a time."""
    found = find_model(name)
    if (unfinished := why_unfinished(Path(found.path))) is not None:
        console.print(f"warning: {unfinished}", style="yellow", markup=False, soft_wrap=True)
    with console.status(f"loading {name}"):
        scorer = open_model(found, arguments, option)
    by = ScoredBy(
        model=name, fingerprint=scorer.fingerprint, commit=scorer.commit, reads=scorer.reads
    )
    folder = Path(arguments.output) / LOGS_FOLDER
    answers = Answers(
        by, [folder / f"{scorer.fingerprint}-{file.sha256[:32]}.jsonl" for file in files]
    )
    progress = ProgressDisplay(console, f"{name}", unit="rows")
    rate = _Rate(progress, sum(file.rows for file in files))
    try:
        for file, log in zip(files, answers.logs, strict=True):
            with ScoreLog(log) as opened:
                rate.skip(opened.rows)
                for part in _parts(file, opened.rows):
                    opened.add(score_part(scorer, part))
                    rate.add(len(part), sum(len(one.responses) for one in part))
    finally:
        progress.end()
    return answers


class _Rate:
    """Progress in rows, with the responses per second of this attempt."""

    def __init__(self, progress: ProgressDisplay, total: int) -> None:
        self._progress, self._total = progress, total
        self._rows = self._responses = 0
        self._began: float | None = None

    def skip(self, rows: int) -> None:
        """An earlier attempt has scored them."""
        if rows:
            self._progress.say(f"{rows:,} rows were scored before")
        self._rows += rows
        if self._began is None:
            self._progress.begin(self._total, self._rows)
            self._began = time.monotonic()

    def add(self, rows: int, responses: int) -> None:
        self._rows += rows
        self._responses += responses
        assert self._began is not None
        rate = self._responses / max(time.monotonic() - self._began, 1e-9)
        self._progress.update(self._rows, f"{rate:,.1f} responses/s")


def _parts(file: RowFile, done: int) -> Iterator[list[Candidates]]:
    """Rows after the first ``done``, in parts that depend on the file alone."""
    part: list[Candidates] = []
    characters = 0
    for number, candidates in enumerate(candidates_of(file.path, file.form)):
        if number < done:
            continue
        part.append(candidates)
        characters += sum(len(turn.content) for turn in candidates.messages)
        characters += sum(map(len, candidates.responses))
        if characters >= PART_CHARACTERS:
            yield part
            part, characters = [], 0
    if part:
        yield part


def score_part(scorer: Scorer, part: Sequence[Candidates]) -> list[list[Scored]]:
    """What a model says of each response of rows; a prompt that several rows have is one."""
    wanted: dict[tuple[ChatMessage, ...], dict[str, int]] = {}
    part = [
        one._replace(
            messages=messages_with_context(one.messages, one.site, one.tags, scorer.context)
        )
        for one in part
    ]
    for candidates in part:
        texts = wanted.setdefault(candidates.messages, {})
        for text in candidates.responses:
            texts.setdefault(text, len(texts))
    scored = scorer.score(list(wanted), [list(texts) for texts in wanted.values()])
    found = dict(zip(wanted, scored, strict=True))
    return [
        [found[one.messages][wanted[one.messages][text]] for text in one.responses] for one in part
    ]
