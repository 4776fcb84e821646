"""The supervisor of the stack's children: readiness, failures, order of ending, and no orphans."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from local.processes import ChildFailedError, InterruptedStackError, Supervisor

PROJECT = Path(__file__).resolve().parents[3]
READY = {"url": r"^ready (\S+)"}
SERVES = "import signal; print('ready http://x', flush=True); signal.pause()"


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def gone(*pids: int) -> bool:
    """Whether every process ends within ten seconds. One that only waits to be reaped has ended."""
    left = set(pids)
    deadline = time.monotonic() + 10
    while left and time.monotonic() < deadline:
        for pid in tuple(left):
            try:
                psutil.Process(pid).wait(0.05)
            except psutil.NoSuchProcess:
                left.discard(pid)
            except psutil.TimeoutExpired:
                with contextlib.suppress(psutil.NoSuchProcess):
                    if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                        left.discard(pid)
    return not left


def test_a_child_is_ready_once_every_pattern_was_seen(tmp_path: Path) -> None:
    code = "print('a at one', flush=True); print('b at two', flush=True); import signal; signal.pause()"
    with Supervisor(tmp_path) as supervisor:
        child = supervisor.start("both", python(code), ready={"a": r"a at (\S+)", "b": r"b at (\S+)"}, env=os.environ)
        supervisor.wait_ready(child, 30)
        assert child.found == {"a": "one", "b": "two"}
        assert child.seconds_to_ready is not None


def test_output_goes_to_a_log_of_its_own_and_to_the_terminal_when_asked(tmp_path: Path) -> None:
    shown: list[str] = []
    with Supervisor(tmp_path, shown.append) as supervisor:
        for name, echo in (("loud", True), ("quiet", False)):
            code = f"import sys; print('{name}', file=sys.stderr, flush=True); {SERVES}"
            child = supervisor.start(name, python(code), ready=READY, env=os.environ, echo=echo)
            supervisor.wait_ready(child, 30)
    assert shown == ["loud", "ready http://x"]
    assert (tmp_path / "quiet.log").read_text() == "quiet\nready http://x\n"


def test_a_terminal_that_went_away_does_not_stop_the_child_from_writing(tmp_path: Path) -> None:
    def broken(_: str) -> None:
        raise BrokenPipeError

    with Supervisor(tmp_path, broken) as supervisor:
        child = supervisor.start("host", python(SERVES), ready=READY, env=os.environ, echo=True)
        supervisor.wait_ready(child, 30)
        assert child.is_ready


def test_a_child_that_dies_while_another_is_awaited_is_named_with_its_last_lines(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        waiting = supervisor.start("slow", python("import signal; signal.pause()"), ready=READY, env=os.environ)
        supervisor.start("broken", python("raise SystemExit('no such setting')"), ready=READY, env=os.environ)
        with pytest.raises(ChildFailedError, match=r"(?s)broken ended \(exit status 1\).*no such setting"):
            supervisor.wait_ready(waiting, 30)


def test_a_child_that_is_killed_later_ends_the_wait(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        child = supervisor.start("host", python(SERVES), ready=READY, env=os.environ)
        supervisor.wait_ready(child, 30)
        os.kill(child.pid, signal.SIGKILL)
        with pytest.raises(ChildFailedError, match=r"host ended \(killed by SIGKILL\)"):
            supervisor.wait()


def test_a_child_that_never_gets_ready_is_named(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        child = supervisor.start("mute", python("import signal; signal.pause()"), ready=READY, env=os.environ)
        with pytest.raises(ChildFailedError, match="mute was not ready"):
            supervisor.wait_ready(child, 0.2)


def test_an_interrupt_ends_the_wait(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        supervisor.interrupt()
        with pytest.raises(InterruptedStackError):
            supervisor.wait()


def test_children_end_in_reverse_order(tmp_path: Path) -> None:
    ended = tmp_path / "ended"
    with Supervisor(tmp_path) as supervisor:
        for name in ("first", "second", "third"):
            note = f"open({str(ended)!r}, 'a').write('{name} ')"
            code = f"import signal, sys; signal.signal(15, lambda *_: ({note}, sys.exit())); {SERVES}"
            supervisor.wait_ready(supervisor.start(name, python(code), ready=READY, env=os.environ), 30)
    assert ended.read_text() == "third second first "


def test_a_child_that_ignores_sigterm_is_killed_with_what_it_started(tmp_path: Path) -> None:
    code = (
        "import signal, subprocess, sys; signal.signal(15, signal.SIG_IGN);"
        "child = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()']);"
        "print('ready', child.pid, flush=True); signal.pause()"
    )
    supervisor = Supervisor(tmp_path)
    child = supervisor.start("stubborn", python(code), ready=READY, env=os.environ)
    supervisor.wait_ready(child, 30)
    supervisor.stop(grace=0.1)
    assert gone(child.pid, int(child.found["url"]))


def test_what_a_child_left_behind_ends_with_it(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys;"
        "child = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()']);"
        f"print('ready', child.pid, flush=True); {SERVES}"
    )
    supervisor = Supervisor(tmp_path)
    child = supervisor.start("parent", python(code), ready=READY, env=os.environ)
    supervisor.wait_ready(child, 30)
    supervisor.stop()
    assert gone(int(child.found["url"]))


def test_a_child_killed_on_purpose_fails_nobody(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        child = supervisor.start("host", python(SERVES), ready=READY, env=os.environ)
        supervisor.wait_ready(child, 30)
        supervisor.kill(child)
        assert child.process.returncode == -signal.SIGKILL
        again = supervisor.start("host", python(SERVES), ready=READY, env=os.environ)
        supervisor.wait_ready(again, 30)
    assert (tmp_path / "host.log").read_text() == "ready http://x\n" * 2, "what it wrote before is kept"


def test_when_the_parent_is_killed_its_children_and_theirs_end(tmp_path: Path) -> None:
    grandparent = (
        "import os, pathlib, signal, sys\n"
        "from local.processes import Supervisor\n"
        f"supervisor = Supervisor(pathlib.Path({str(tmp_path)!r}))\n"
        "code = '''\n"
        "import signal, subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])\n"
        "print('ready', child.pid, flush=True)\n"
        "signal.pause()\n"
        "'''\n"
        "ready = {'pid': r'^ready (\\S+)'}\n"
        "child = supervisor.start('child', [sys.executable, '-c', code], ready=ready, env=os.environ)\n"
        "supervisor.wait_ready(child, 30)\n"
        "print(child.pid, child.found['pid'], flush=True)\n"
        "signal.pause()\n"
    )
    with subprocess.Popen(python(grandparent), cwd=PROJECT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child, grandchild = map(int, parent.stdout.readline().split())
        watchdogs = [process.pid for process in psutil.Process(parent.pid).children()]
        parent.kill()
        assert gone(child, grandchild, *watchdogs)
