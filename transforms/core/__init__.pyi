from .coders import register as register
from .outcomes import remaining as remaining
