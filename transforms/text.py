"""Bodies become Markdown, whatever their forum wrote them in."""

import apache_beam as beam
import msgspec

from schemas.post import Post, Thread
from transforms.markdown import html_to_markdown


def post_to_markdown(post: Post) -> Post:
    """Return ``post`` with its text as Markdown; Markdown stays as it is."""
    if post.markup == "markdown":
        return post
    return msgspec.structs.replace(post, text=html_to_markdown(post.text), markup="markdown")


def thread_to_markdown(thread: Thread) -> Thread:
    """Convert every post of a thread."""
    return Thread(
        prompt=post_to_markdown(thread.prompt),
        responses=tuple(post_to_markdown(post) for post in thread.responses),
    )


class ConvertToMarkdown(beam.PTransform):
    """Thread → Thread with Markdown texts."""

    def expand(self, threads: beam.PCollection) -> beam.PCollection:
        return threads | "Convert" >> beam.Map(thread_to_markdown).with_output_types(Thread)
