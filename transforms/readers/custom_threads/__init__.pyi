from .reader import THREADS as THREADS
from .reader import read_own_threads as read_own_threads
from .rows import ParsedThread as ParsedThread
from .rows import parse_thread as parse_thread
