from .conversations import split_conversation as split_conversation
from .formats import read_row as read_row
from .reader import PAIRS as PAIRS
from .reader import read_preference_set as read_preference_set
from .rows import AnswerList as AnswerList
from .rows import StatedPair as StatedPair
