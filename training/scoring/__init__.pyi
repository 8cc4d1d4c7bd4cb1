from .candidates import Candidates as Candidates
from .candidates import find_form as find_form
from .candidates import read_candidates as read_candidates
