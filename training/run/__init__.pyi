from .options import TrainOptions as TrainOptions
from .setup import set_up as set_up
from .state import Totals as Totals
from .state import TrainingRun as TrainingRun
