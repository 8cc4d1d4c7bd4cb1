from .distributed import DistributedContext as DistributedContext
from .distributed import start_distributed as start_distributed
from .distributed import stop_distributed as stop_distributed
from .sharding import MasterWeights as MasterWeights
