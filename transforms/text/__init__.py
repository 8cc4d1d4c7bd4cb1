"""Texts of posts: HTML becomes Markdown, in one form whatever forum it is from.

`html_tokens` cuts HTML into tags and text without a parser's repairs, `markdown` writes Markdown,
`emphasis` says which marks of emphasis work, `links` makes links absolute, `convert` is the step
that converts the posts of threads.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
