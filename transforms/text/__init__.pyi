from .convert import ConvertToMarkdown as ConvertToMarkdown
from .convert import post_to_markdown as post_to_markdown
from .convert import thread_to_markdown as thread_to_markdown
from .html_tokens import attributes as attributes
from .html_tokens import split_tags as split_tags
from .html_tokens import tag_name as tag_name
from .markdown import html_to_markdown as html_to_markdown
