from .reader import REDDIT as REDDIT
from .reader import comment_post as comment_post
from .reader import read_reddit as read_reddit
from .reader import submission_post as submission_post
from .reader import unusable_month as unusable_month
from .rows import Record as Record
