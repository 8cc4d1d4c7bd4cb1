from .base import ExtraHead as ExtraHead
from .base import Head as Head
from .registry import EXTRA_HEADS as EXTRA_HEADS
from .registry import HEADS as HEADS
from .training_heads import HEADS_NAME as HEADS_NAME
from .training_heads import TrainingHeads as TrainingHeads
from .training_heads import make_heads as make_heads
