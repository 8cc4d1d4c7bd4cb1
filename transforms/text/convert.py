"""Bodies become Markdown, whatever their forum wrote them in."""

import apache_beam as beam
import msgspec

from schemas.post import Post, Thread
from transforms.text.links import absolute_links
from transforms.text.markdown import html_to_markdown


def post_to_markdown(post: Post) -> Post:
    """Return ``post`` with its text as Markdown, with absolute links and lines ended by "\\n"."""
    if post.markup == "markdown":
        text = post.text
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        text = absolute_links(text, post.url)
        return post if text == post.text else msgspec.structs.replace(post, text=text)
    text = html_to_markdown(post.text, post.url)
    return msgspec.structs.replace(post, text=text, markup="markdown")


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
