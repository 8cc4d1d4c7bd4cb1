from .dispatch import check_runner as check_runner
from .dispatch import run_on as run_on
from .local import run_local as run_local
from .options import RunnerOptions as RunnerOptions
from .options import add_runner_arguments as add_runner_arguments
from .options import check_beam_arguments as check_beam_arguments
from .options import runner_options as runner_options
