from .trackers import Tracker as Tracker
from .trackers import Trackers as Trackers
from .trackers import TrackerStart as TrackerStart
from .trackers import open_trackers as open_trackers
