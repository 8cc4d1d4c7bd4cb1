"""Tasks in a few threads, such that the first failure or Ctrl-C ends them."""

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait


def in_parallel(workers: int, tasks: Iterable[Callable[[], object]]) -> None:
    """Run tasks; raises the first error, once those that had begun are over.

    After KeyboardInterrupt they are not waited for.
    """
    pool = ThreadPoolExecutor(workers)
    try:
        futures = [pool.submit(task) for task in tasks]
        wait(futures, return_when=FIRST_EXCEPTION)
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown(wait=True, cancel_futures=True)
    for future in futures:
        if not future.cancelled():
            future.result()
