"""What Linux says of this process in /proc: proc_pid_status(5), proc_pid_clear_refs(5), and `schedstat`."""

from __future__ import annotations

import re
from pathlib import Path

_STATUS = Path("/proc/self/status")


def resident() -> int:
    """Bytes resident now."""
    return _field("VmRSS")


def peak() -> int:
    """The most bytes that were resident since `forget_peak`."""
    return _field("VmHWM")


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def queued() -> float:
    """Seconds for which this thread was ready to run and other threads had the processors (sched-stats.rst)."""
    return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9


def _field(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    assert found
    return int(found[1]) * 1024
