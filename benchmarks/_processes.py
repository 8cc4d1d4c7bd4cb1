"""What the processes of a command hold, for benchmarks that start one."""

from pathlib import Path


def tree_rss(pid: int) -> int:
    """Resident bytes of a process and its descendants."""
    total, pending = 0, [pid]
    while pending:
        current = pending.pop()
        try:
            total += int(Path(f"/proc/{current}/statm").read_text().split()[1]) * 4096
            for task in Path(f"/proc/{current}/task").iterdir():
                pending += map(int, (task / "children").read_text().split())
        except (OSError, IndexError):
            continue
    return total
