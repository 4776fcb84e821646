"""The life of host and workers: coming up, failing to, dying, and going down."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import psutil
import pytest


def worker_pid(host) -> int:
    [worker] = httpx.get(f"{host.url}/admin/host/status", trust_env=False).json()["workers"]
    return worker["pid"]


def gone(pid: int) -> bool:
    """Wait for a process to be gone."""
    try:
        psutil.Process(pid).wait(10)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return False
    return True


def ask_in_background(url: str) -> tuple[threading.Thread, list]:
    outcome: list = []

    def ask() -> None:
        try:
            outcome.append(httpx.get(url, timeout=20, trust_env=False))
        except httpx.HTTPError as error:
            outcome.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    return thread, outcome


def test_a_killed_worker_is_replaced_and_its_request_fails(start_host) -> None:
    host = start_host("streams")
    pid = worker_pid(host)
    thread, outcome = ask_in_background(f"{host.url}/slow")
    host.hears("slow has begun")
    os.kill(pid, signal.SIGKILL)
    thread.join(20)
    [response] = outcome
    assert response.status_code == 502
    host.hears(r"Executed 'slow' \(Failed: worker 1 ended during the invocation")
    assert httpx.get(f"{host.url}/hello", timeout=20, trust_env=False).text == "hello"  # waits for the new worker
    assert worker_pid(host) != pid
    assert sum("slow has begun" in line for line in host.lines) == 1  # it was not asked for a second time


def test_a_response_that_was_under_way_is_cut_when_the_worker_dies(start_host) -> None:
    host = start_host("streams")
    with httpx.stream("GET", f"{host.url}/endless", timeout=20, trust_env=False) as response:
        pieces = response.iter_bytes()
        next(pieces)
        os.kill(worker_pid(host), signal.SIGKILL)
        with pytest.raises(httpx.RemoteProtocolError):
            b"".join(pieces)


def test_with_two_workers_the_other_serves_while_one_is_away(start_host) -> None:
    host = start_host("streams", workers=2)
    workers = httpx.get(f"{host.url}/admin/host/status", trust_env=False).json()["workers"]
    os.kill(workers[0]["pid"], signal.SIGKILL)
    pids = {httpx.get(f"{host.url}/echo", timeout=20, trust_env=False).json()["pid"] for _ in range(6)}
    assert workers[0]["pid"] not in pids
    assert workers[1]["pid"] in pids


def test_a_function_that_outruns_the_time_limit_takes_its_worker_with_it(start_host) -> None:
    host = start_host("streams", AzureFunctionsJobHost__functionTimeout="00:00:01")
    response = httpx.get(f"{host.url}/slow", timeout=20, trust_env=False)
    assert response.status_code == 502
    host.hears(r"time limit of 1 s")
    assert httpx.get(f"{host.url}/hello", timeout=20, trust_env=False).text == "hello"


def test_sigterm_lets_running_requests_end_and_leaves_nothing_behind(start_host) -> None:
    host = start_host("streams", LOCAL_HOST_GRACE_SECONDS="15")
    pid = worker_pid(host)
    thread, outcome = ask_in_background(f"{host.url}/slow?seconds=1")
    host.hears("slow has begun")
    assert host.terminate() == 0
    thread.join(20)
    assert outcome[0].text == "done"
    assert gone(pid)


def test_sigterm_does_not_wait_beyond_its_grace(start_host) -> None:
    host = start_host("streams", LOCAL_HOST_GRACE_SECONDS="0.1")
    pid = worker_pid(host)
    thread, outcome = ask_in_background(f"{host.url}/slow?seconds=600")
    host.hears("slow has begun")
    assert host.terminate() == 0
    thread.join(20)
    assert not isinstance(outcome[0], httpx.TimeoutException)
    assert gone(pid)


def test_workers_do_not_outlive_a_killed_host(start_host) -> None:
    host = start_host("streams")
    pid = worker_pid(host)
    host.process.kill()
    assert gone(pid)


def test_a_worker_whose_loop_is_blocked_does_not_outlive_a_killed_host(start_host, tmp_path: Path) -> None:
    write_app(tmp_path, "import os, time\nprint('blocked', os.getpid(), flush=True)\ntime.sleep(600)\n")
    host = start_host(tmp_path)
    pid = int(host.hears(r"blocked (\d+)")[1])
    host.process.kill()
    assert gone(pid)


def test_sigterm_while_the_app_is_loading_ends_it(start_host, tmp_path: Path) -> None:
    write_app(tmp_path, "import os, time\nprint('loading', os.getpid(), flush=True)\ntime.sleep(600)\n")
    host = start_host(tmp_path)
    pid = int(host.hears(r"loading (\d+)")[1])
    assert host.terminate() == 0
    assert gone(pid)


def test_what_the_app_started_ends_with_its_worker(start_host, tmp_path: Path) -> None:
    body = "import subprocess\nchild = subprocess.Popen(['sleep', '600'])\nprint('child', child.pid)\n"
    write_app(tmp_path, body)
    host = start_host(tmp_path)
    pid = int(host.hears(r"child (\d+)")[1])
    assert host.url
    assert host.terminate() == 0
    assert gone(pid)


def write_app(directory: Path, body: str) -> None:
    (directory / "host.json").write_text('{"version": "2.0"}')
    (directory / "function_app.py").write_text(body + "import azure.functions as func\napp = func.FunctionApp()\n")


def test_an_app_that_does_not_load_is_reported_whole_and_without_noise(start_host, tmp_path: Path) -> None:
    write_app(tmp_path, "from nowhere_to_be_found import something\n")
    host = start_host(tmp_path)
    assert host.process.wait(20) == 1
    host.hears("ModuleNotFoundError: No module named 'nowhere_to_be_found'")
    host.hears(r'function_app\.py", line 1')
    assert not any("importlib" in line for line in host.lines)


def test_an_app_with_a_binding_that_is_not_served_says_which(start_host, tmp_path: Path) -> None:
    body = "\n@app.service_bus_queue_trigger('word', 'BUS', 'words')\ndef look(word: func.ServiceBusMessage): pass\n"
    write_app(tmp_path, "")
    with (tmp_path / "function_app.py").open("a") as script:
        script.write(body)
    host = start_host(tmp_path)
    assert host.process.wait(20) == 1
    host.hears("Function 'look' has a binding 'word' of type 'serviceBusTrigger'")


def test_an_app_without_http_streams_says_so(start_host) -> None:
    host = start_host("plain_http")
    assert host.process.wait(20) == 1
    host.hears(r"azurefunctions\.extensions\.http\.fastapi")


def test_an_app_that_dies_while_it_loads_says_so(start_host, tmp_path: Path) -> None:
    write_app(tmp_path, "import os\nos._exit(3)\n")
    host = start_host(tmp_path)
    assert host.process.wait(20) == 1
    host.hears("ended while the app was being loaded")


def test_a_taken_port_is_a_sentence(tmp_path: Path) -> None:
    write_app(tmp_path, "")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = subprocess.run(
            [sys.executable, "-m", "local.host", "--app", tmp_path, "--port", str(port)],
            env={**os.environ, "LOCAL_HOST_KEY": "k"},
            cwd=Path(__file__).parents[3],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    assert (result.returncode, result.stderr) == (
        1,
        f"Port {port} on 127.0.0.1 cannot be used: Address already in use.\n",
    )


def test_the_app_finds_its_own_modules_its_directory_and_its_address(start_host, tmp_path: Path) -> None:
    (tmp_path / "neighbour.py").write_text("WORD = 'found'\n")
    write_app(
        tmp_path,
        "import os, sys, neighbour\nprint('NEIGHBOUR', neighbour.WORD, os.getcwd(), sys.path[0], "
        "os.environ['WEBSITE_HOSTNAME'], os.environ['MINE'])\n",
    )
    host = start_host(tmp_path, MINE="passed on")
    address = host.url.removeprefix("http://")
    host.hears(rf"NEIGHBOUR found {tmp_path} {tmp_path} {address} passed on$")
