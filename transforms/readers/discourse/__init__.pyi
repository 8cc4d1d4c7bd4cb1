from .html import clean_cooked as clean_cooked
from .reader import DISCOURSE as DISCOURSE
from .reader import read_discourse as read_discourse
from .rows import parse_post as parse_post
