"""A small Hugging Face Hub on loopback, for tests of what publishes to and reads from one."""

from tests.hub.faults import (
    BrokenUpload,
    CorruptAnswer,
    CorruptRequest,
    CutAnswer,
    Delay,
    Fault,
    Hold,
    LostAnswer,
    RacingCommit,
    Status,
)
from tests.hub.loopback import loopback_only
from tests.hub.server import HubServer

__all__ = [
    "BrokenUpload",
    "CorruptAnswer",
    "CorruptRequest",
    "CutAnswer",
    "Delay",
    "Fault",
    "Hold",
    "HubServer",
    "LostAnswer",
    "RacingCommit",
    "Status",
    "loopback_only",
]
