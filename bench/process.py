"""What Linux says of a process in /proc: proc_pid_status(5), proc_pid_clear_refs(5), and `schedstat`."""

from __future__ import annotations

import re
from pathlib import Path


def resident(pid: int | None = None) -> int:
    """Bytes resident now; of this process, where no other is named."""
    return _field("VmRSS", pid)


def peak(pid: int | None = None) -> int:
    """The most bytes that were resident since `forget_peak`."""
    return _field("VmHWM", pid)


def forget_peak(pid: int | None = None) -> None:
    (_folder(pid) / "clear_refs").write_text("5")


def queued() -> float:
    """Seconds for which this thread was ready to run and other threads had the processors (sched-stats.rst)."""
    return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9


def _folder(pid: int | None) -> Path:
    return Path("/proc") / ("self" if pid is None else str(pid))


def _field(name: str, pid: int | None) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", (_folder(pid) / "status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) * 1024
