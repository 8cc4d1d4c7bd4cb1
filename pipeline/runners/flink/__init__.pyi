from .runner import run_flink as run_flink
from .settings import FlinkSettings as FlinkSettings
