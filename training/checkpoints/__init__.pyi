from .background import BackgroundJob as BackgroundJob
from .checkpoint import TrainerState as TrainerState
from .checkpoint import checkpoints as checkpoints
from .checkpoint import last_good as last_good
from .checkpoint import newest_whole as newest_whole
from .checkpoint import save_checkpoint as save_checkpoint
from .sharded import save_sharded_checkpoint as save_sharded_checkpoint
