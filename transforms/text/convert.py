"""Bodies become Markdown, whatever their forum wrote them in."""

import apache_beam as beam
import msgspec

from schemas.post import Post, Thread
from transforms.text.markdown import html_to_markdown


def post_to_markdown(post: Post) -> Post:
    """Return ``post`` with its text as Markdown, its lines ended by a line feed."""
    if post.markup == "markdown":
        if "\r" not in post.text:
            return post
        text = post.text.replace("\r\n", "\n").replace("\r", "\n")
        return msgspec.structs.replace(post, text=text)
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
