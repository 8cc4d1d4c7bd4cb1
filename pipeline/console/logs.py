"""What of the libraries' logs a user sees."""

import logging


def set_up_logs(*, verbose: bool) -> None:
    """Show logs from INFO up with ``verbose``, else errors only.

    Call it before Beam is imported: Beam warns then of optional packages that nobody missed.
    """
    level = logging.INFO if verbose else logging.ERROR
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s", force=True)
    for handler in logging.getLogger().handlers:
        handler.setLevel(level)  # loggers of Beam's have levels of their own
