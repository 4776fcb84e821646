"""`python -m local.stack`: up, already up, down, and what is left when a part or the whole is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from local import commands
from local.identity import make_token
from local.stack import Stack
from local.state import StackInfo, running

PROJECT = Path(__file__).resolve().parents[2]
TINY = Path(__file__).with_name("apps") / "tiny"
Up = subprocess.Popen[str]


@pytest.fixture
def bring_up(tmp_path: Path, quiet_environment: dict[str, str]) -> Iterator[Callable[..., Up]]:
    """A function that runs `up` with the tiny app in the test's folder; its output goes to `up.log`."""
    started: list[Up] = []

    def bring_up(*arguments: str) -> Up:
        with (tmp_path / "up.log").open("a") as log:
            command = [sys.executable, "-m", "local.stack", "up", "--dir", str(tmp_path), "--app", str(TINY)]
            process = subprocess.Popen(
                [*command, *(arguments or ("--port", "0"))],
                cwd=PROJECT,
                env=quiet_environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
            )
        started.append(process)
        return process

    yield bring_up
    for process in started:
        if process.poll() is None:
            process.terminate()
            process.wait(60)


def wait_until_up(process: Up, directory: Path) -> dict[str, Any]:
    deadline = time.monotonic() + 90
    while running(directory) is None:
        assert process.poll() is None, (directory / "up.log").read_text()
        assert time.monotonic() < deadline, (directory / "up.log").read_text()
        time.sleep(0.05)
    state: dict[str, Any] = json.loads((directory / "stack.json").read_text())
    return state


def none_left(pids: dict[str, int]) -> bool:
    """Whether every process has ended, or ends within twenty seconds."""
    deadline = time.monotonic() + 20
    while any(_runs(pid) for pid in pids.values()):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def blob(state: dict[str, Any], method: str, **options: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {make_token('https://storage.azure.com')}", "x-ms-version": "2025-05-05"}
    headers |= {"x-ms-blob-type": "BlockBlob", "x-ms-date": time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())}
    context = ssl.create_default_context(cafile=state["ca"])
    return httpx.request(method, f"{state['blob']}/results/kept.txt", headers=headers, verify=context, **options)


def test_up_serves_until_it_is_interrupted_and_keeps_data_and_key(
    bring_up: Callable[..., Up], tmp_path: Path, quiet_environment: dict[str, str]
) -> None:
    process = bring_up()
    state = wait_until_up(process, tmp_path)
    told = httpx.get(f"{state['app']}/environment", headers={"x-functions-key": state["key"]}).json()
    assert told["STORAGE__blobServiceUri"] == state["blob"]
    assert told["EVENTS__topicEndpointUri"] == f"{state['topic']}/api/events"
    assert httpx.get(f"{state['app']}/environment").status_code == 401
    assert blob(state, "PUT", content=b"kept").status_code == 201

    second = bring_up()
    assert second.wait(60) == 1
    assert f"already runs in {tmp_path}: the app is at {state['app']}" in (tmp_path / "up.log").read_text()
    assert running(tmp_path) is not None

    port = state["app"].rpartition(":")[2]
    command = [sys.executable, "-m", "local.stack", "up", "--dir", str(tmp_path / "other"), "--port", port]
    elsewhere = subprocess.run(command, cwd=PROJECT, env=quiet_environment, capture_output=True, text=True, timeout=60)
    assert elsewhere.returncode == 1
    assert "is in use by another program" in elsewhere.stderr
    assert "PORT=" in elsewhere.stderr

    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    assert none_left(state["pids"])
    assert not (tmp_path / "stack.json").exists()

    again = bring_up()
    renewed = wait_until_up(again, tmp_path)
    assert blob(renewed, "GET").content == b"kept"
    assert renewed["key"] == state["key"]
    down = [sys.executable, "-m", "local.stack", "down", "--dir", str(tmp_path)]
    assert subprocess.run(down, cwd=PROJECT, env=quiet_environment, timeout=90).returncode == 0
    assert again.wait(60) == 0
    assert none_left(renewed["pids"])


def test_a_killed_stack_leaves_no_process_behind(bring_up: Callable[..., Up], tmp_path: Path) -> None:
    process = bring_up("--port", "0", "--workers", "2")
    state = wait_until_up(process, tmp_path)
    everyone = {str(child.pid): child.pid for child in psutil.Process(process.pid).children(recursive=True)}
    assert len(everyone) >= len(state["pids"]) + 2, "two workers and the watchdog among them"
    process.kill()
    assert none_left(everyone)
    assert running(tmp_path) is None


@pytest.mark.parametrize("part", ["azurite", "host"])
def test_a_part_that_dies_is_named_and_ends_the_stack(bring_up: Callable[..., Up], tmp_path: Path, part: str) -> None:
    process = bring_up()
    state = wait_until_up(process, tmp_path)
    os.kill(state["pids"][part], signal.SIGKILL)
    assert process.wait(60) == 1
    assert f"{part} ended (killed by SIGKILL)" in (tmp_path / "up.log").read_text()
    assert none_left(state["pids"])


def test_an_app_that_cannot_be_loaded_is_said_before_the_stack_ends(
    bring_up: Callable[..., Up], tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "function_app.py").write_text("import a_module_that_is_not_there\n")
    (broken / "host.json").write_text('{"version": "2.0"}')
    assert bring_up("--port", "0", "--app", str(broken)).wait(90) == 1
    assert "a_module_that_is_not_there" in (tmp_path / "up.log").read_text()


def test_a_part_that_was_killed_comes_back_at_its_old_address(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack(app=TINY, configure=lambda env: {"SEEN": env["PUBLIC_BASE_URL"]})
    assert stack.info is not None
    before = stack.info
    for part in ("azurite", "topic", "vault", "model", "identity", "host"):
        stack.kill(part)
        stack.restart(part)
    assert {**vars(stack.info), "pids": None} == {**vars(before), "pids": None}
    assert all(stack.info.pids[name] != pid for name, pid in before.pids.items() if name != "stack")
    headers = {"x-functions-key": before.key}
    assert httpx.get(f"{before.app}/environment", headers=headers).json()["SEEN"] == before.app


@pytest.mark.skipif(shutil.which("curl") is None, reason="the printed line is for curl")
def test_the_line_that_make_run_prints_saves_a_picture(
    stack: StackInfo, tmp_path: Path, quiet_environment: dict[str, str]
) -> None:
    line = commands.curl_line(stack)
    done = subprocess.run(
        ["/bin/sh", "-c", line], cwd=tmp_path, env=quiet_environment, capture_output=True, check=False
    )

    assert done.returncode == 0, done.stderr.decode()
    assert (tmp_path / "lighthouse.png").read_bytes().startswith(b"\x89PNG")
