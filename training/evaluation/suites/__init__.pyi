from .registry import BY_NAME as BY_NAME
from .registry import SUITES as SUITES
from .registry import LoadedSuite as LoadedSuite
from .registry import load_suite as load_suite
from .rows import Row as Row
from .suite import Suite as Suite
