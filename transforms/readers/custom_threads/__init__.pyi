from .reader import THREADS as THREADS
from .reader import read_custom_threads as read_custom_threads
from .rows import ParsedThread as ParsedThread
from .rows import parse_thread as parse_thread
