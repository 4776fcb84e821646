"""The death of a process, played within one."""

from __future__ import annotations


class DiedError(BaseException):
    """The process is gone: nothing runs after it."""
