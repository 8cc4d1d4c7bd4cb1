"""The step that fits the vote model, and the file in which a run keeps it."""

from collections.abc import Iterator
from dataclasses import dataclass

import apache_beam as beam
import msgspec
from apache_beam.io.filesystems import FileSystems

from schemas.post import Thread
from schemas.vote_model import VoteModel, encode_vote_model
from transforms.core import register
from transforms.core.coders import decoder_of, encoder_of
from transforms.pairing.vote_model import (
    SITE_THREADS,
    SiteFit,
    combine_sites,
    fit_threads,
    has_choices,
    sample_place,
)

VOTE_MODEL_NAME = "vote_model.json"
"""File of the run's folder until it is in the manifest."""

register(SiteFit, VoteModel)

Entry = tuple[int, str, bytes]
"""Place of a thread, its id, and itself without texts."""


def without_texts(thread: Thread) -> Thread:
    """Leave out all that the votes do not need, so that thousands of threads stay small."""
    posts = [
        msgspec.structs.replace(
            post,
            title="",
            text="",
            tags=(),
            url="",
            author="",
            author_url=None,
            license="",
            preferred_to=None,
        )
        for post in (thread.prompt, *thread.responses)
    ]
    return Thread(prompt=posts[0], responses=tuple(posts[1:]))


@dataclass
class FitVoteModel(beam.PTransform):
    """Threads → one VoteModel, which is also saved in ``folder``.

    Every site is fitted in one place, on the threads with the smallest hashes of their ids.
    """

    folder: str
    site_threads: int = SITE_THREADS

    def expand(self, threads: beam.PCollection[Thread]) -> beam.PCollection[VoteModel]:
        fits = (
            threads
            | "Strip" >> beam.FlatMap(_entries).with_output_types(tuple[str, Entry])
            | "Smallest places" >> beam.combiners.Top.SmallestPerKey(self.site_threads)
            | "Fit sites" >> beam.FlatMap(_fit).with_output_types(SiteFit)
        )
        model = (
            fits
            | "All sites" >> beam.combiners.ToList()
            | "Combine sites" >> beam.Map(combine_sites).with_output_types(VoteModel)
        )
        _ = model | "Save" >> beam.Map(_save, self.folder)
        return model


def _entries(thread: Thread) -> Iterator[tuple[str, Entry]]:
    if has_choices(thread):
        content = encoder_of(Thread).encode(without_texts(thread))
        yield thread.prompt.site, (*sample_place(thread), content)


def _fit(of_site: tuple[str, list[Entry]]) -> Iterator[SiteFit]:
    decoder = decoder_of(Thread)
    fit = fit_threads(decoder.decode(content) for _, _, content in of_site[1])
    if fit is not None:
        yield fit


def _save(model: VoteModel, folder: str) -> None:
    with FileSystems.create(FileSystems.join(folder, VOTE_MODEL_NAME)) as file:
        file.write(encode_vote_model(model))
