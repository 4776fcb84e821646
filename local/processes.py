"""The stack's children: started, watched, stopped, never orphaned.

`stack.py` and the tests' fixtures come in by `Supervisor`. Every child runs in a process group of its own (so Ctrl-C
reaches the parent alone, which then ends the children in reverse order), writes to a log file of its own, and says on
its output when it serves. `watchdog.py` ends the children if this process is killed before it can.

Everything the parent waits for (a child ready, a child dead, a signal) arrives on one queue, so nothing is polled.
"""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

TAIL_LINES = 40


class ChildFailedError(Exception):
    """A child ended, or did not get ready in time. The message says which and shows its last lines."""


class InterruptedStackError(Exception):
    """Somebody asked for the end (a signal) while the parent was waiting."""


class Child:
    """One running child. `found` holds what its `ready` patterns caught, once all of them have."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path, ready: Mapping[str, str]) -> None:
        self.name = name
        self.process = process
        self.log = log
        self.found: dict[str, str] = {}
        self.started = time.monotonic()
        self.seconds_to_ready: float | None = None
        self.reader: threading.Thread | None = None
        self._patterns = {key: re.compile(pattern) for key, pattern in ready.items()}
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)

    @property
    def pid(self) -> int:
        """Its process id, which is its process group's too."""
        return self.process.pid

    @property
    def is_ready(self) -> bool:
        """Whether every pattern of `ready` was seen on its output."""
        return self.seconds_to_ready is not None

    def tail(self) -> str:
        """Its last lines, for showing to people."""
        return "\n".join(self._tail)

    def take_line(self, line: str) -> bool:
        """Remember a line of output; return whether the child became ready by it."""
        self._tail.append(line)
        if self.is_ready:
            return False
        for key, pattern in self._patterns.items():
            match = pattern.search(line)
            if match and key not in self.found:
                self.found[key] = match.group(1) if pattern.groups else match.group(0)
        if self.found.keys() == self._patterns.keys():
            self.seconds_to_ready = time.monotonic() - self.started
            return True
        return False


class Supervisor:
    """Starts children and ends them, newest first. Used as a context manager; leaving it ends them all."""

    def __init__(self, logs: Path, echo: Callable[[str], None] | None = None) -> None:
        """`logs` is the folder of `<name>.log`; `echo` gets each output line of children started with `echo=True`."""
        logs.mkdir(parents=True, exist_ok=True)
        self._logs = logs
        self._echo = echo
        self._children: list[Child] = []
        self._begun: set[Path] = set()
        # SimpleQueue.put may be called from a signal handler (it is documented as reentrant); Event.set may not.
        self._news: queue.SimpleQueue[Child | None] = queue.SimpleQueue()
        self._stopping = False
        self._watchdog = subprocess.Popen(
            [sys.executable, "-I", str(Path(__file__).with_name("watchdog.py"))],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def children(self) -> Sequence[Child]:
        """The children, oldest first."""
        return tuple(self._children)

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        ready: Mapping[str, str],
        env: Mapping[str, str],
        cwd: Path | None = None,
        echo: bool = False,
    ) -> Child:
        """Start a child. It is ready once each pattern of `ready` has matched a line it wrote; `Child.found` then
        holds group 1 of each match under the pattern's key.
        """
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(env),
            cwd=cwd,
            start_new_session=True,
        )
        self._tell_watchdog(f"+{process.pid}")
        child = Child(name, process, self._logs / f"{name}.log", ready)
        self._children.append(child)
        again = child.log in self._begun  # started anew after a kill: what it wrote before is kept
        self._begun.add(child.log)
        child.reader = threading.Thread(
            target=self._read, args=(child, echo, again), name=f"{name} output", daemon=True
        )
        child.reader.start()
        threading.Thread(target=self._await_end, args=(child,), name=f"{name} end", daemon=True).start()
        return child

    def wait_ready(self, child: Child, timeout: float) -> None:
        """Wait until `child` is ready, at most `timeout` seconds.

        Raises ChildFailedError when it, or any other child, ends before; InterruptedStackError on `interrupt`.
        """
        deadline = time.monotonic() + timeout
        while not child.is_ready:
            try:
                self._next(deadline - time.monotonic())
            except queue.Empty:
                raise ChildFailedError(
                    f"{child.name} was not ready after {timeout:.0f} s. Its last lines ({child.log}):\n{child.tail()}"
                ) from None

    def wait(self) -> None:
        """Wait for ever: raises ChildFailedError when a child ends, InterruptedStackError on `interrupt`."""
        while True:
            self._next(None)

    def kill(self, child: Child, how: signal.Signals = signal.SIGKILL) -> None:
        """End one child on purpose, for tests: its whole group by SIGKILL, or its leader alone by a gentler signal."""
        self._children.remove(child)
        if how is signal.SIGKILL:
            self._end(child, grace=0, first=signal.SIGKILL)
        else:
            self._end(child, grace=12, first=how)

    def interrupt(self) -> None:
        """Make the waiting (or the next to wait) thread raise InterruptedStackError. Safe in a signal handler."""
        self._news.put(None)

    def stop(self, grace: float = 12.0) -> None:
        """End the children in reverse order: SIGTERM to each, SIGKILL to its group after `grace` seconds."""
        self._stopping = True
        while self._children:
            self._end(self._children.pop(), grace)
        if self._watchdog.stdin is not None and not self._watchdog.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                self._watchdog.stdin.close()
            self._watchdog.wait()

    def _next(self, timeout: float | None) -> None:
        child = self._news.get(timeout=None if timeout is None else max(timeout, 0.0))
        if child is None:
            raise InterruptedStackError
        status = child.process.poll()
        if status is not None and child in self._children:
            if child.reader is not None:
                child.reader.join(1.0)  # its last words may still be in the pipe
            raise ChildFailedError(
                f"{child.name} ended ({_describe(status)}). Its last lines ({child.log}):\n{child.tail()}"
            )

    def _read(self, child: Child, echo: bool, again: bool) -> None:
        assert child.process.stdout is not None
        with child.process.stdout as output, child.log.open("ab" if again else "wb") as log:
            for raw in output:
                log.write(raw)
                log.flush()
                line = raw.decode(errors="replace").rstrip()
                if echo and self._echo is not None:
                    with contextlib.suppress(OSError, ValueError):  # nobody may be listening: `make run | head`
                        self._echo(line)
                if child.take_line(line):
                    self._news.put(child)

    def _await_end(self, child: Child) -> None:
        child.process.wait()
        if not self._stopping:
            self._news.put(child)

    def _end(self, child: Child, grace: float, first: signal.Signals = signal.SIGTERM) -> None:
        child.process.send_signal(first)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.process.wait(grace)
        # Also when it ended in time: what it started must not outlive it.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        child.process.wait()
        self._tell_watchdog(f"-{child.pid}")

    def _tell_watchdog(self, line: str) -> None:
        if self._watchdog.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._watchdog.stdin.write(f"{line}\n".encode())
                self._watchdog.stdin.flush()


def _describe(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    with contextlib.suppress(ValueError):
        return f"killed by {signal.Signals(-status).name}"
    return f"killed by signal {-status}"
