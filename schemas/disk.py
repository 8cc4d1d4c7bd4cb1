"""What must be on the disk before something relies on it."""

import errno
import os
from pathlib import Path
from typing import Final

_UNABLE: Final = frozenset((errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF, errno.EROFS))
"""What filesystems answer that cannot do it for folders, or at all."""


def sync(path: Path) -> None:
    """Have a file's bytes, or a folder's entries, reach the disk, where its filesystem can.

    Raises OSError for a disk that is full or broken.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNABLE:
            raise
    finally:
        os.close(descriptor)
