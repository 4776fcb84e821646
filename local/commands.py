"""`python -m local.stack up|down`: the stack in the foreground of a terminal, and its end from another one."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from local import environment
from local.azurite import MissingNodeError
from local.processes import ChildFailedError, InterruptedStackError, Supervisor
from local.stack import DEFAULT_DIRECTORY, PROJECT, PortTakenError, Stack, StackOptions
from local.state import AlreadyRunningError, StackInfo, holder, running, wait_until_ended

DOWN_SECONDS = 60
_CURL = """\
curl -sS {app}/openai/v1/images/generations \\
  -H 'x-functions-key: {key}' -H 'content-type: application/json' \\
  -d '{{"model": "gpt-image-1", "quality": "low", "prompt": "A lighthouse at dawn, its name is \\"Darkroom\\""}}' |
  python3 -c 'import base64, json, sys
open("lighthouse.png", "wb").write(base64.b64decode(json.load(sys.stdin)["data"][0]["b64_json"]))'
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    options = _parser().parse_args(arguments)
    directory = Path(options.dir).resolve()
    if options.command == "down":
        return down(directory)
    app = Path(options.app).resolve()
    return up(StackOptions(directory=directory, app=app, port=options.port, workers=options.workers))


def up(options: StackOptions) -> int:
    """Bring a stack up and stay until Ctrl-C or SIGTERM (0), or until a part of it ends (1)."""
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    started = time.monotonic()
    stack = Stack(options, say=print, echo=print)
    print(f"Darkroom's local stack is coming up ({_shown(options.directory)}).")
    try:
        info = stack.start(_stop_on_signals)
        print(f"\nUp after {time.monotonic() - started:.1f} s. Ctrl-C ends it.\n")
        print(_describe(info, real_model=environment.real_endpoint(options.environ) is not None))
        stack.wait()
    except (InterruptedStackError, KeyboardInterrupt):
        print("\nStopping.")
        return 0
    except AlreadyRunningError:
        _say_already_running(options.directory)
    except (ChildFailedError, PortTakenError, MissingNodeError, RuntimeError) as error:
        print(f"\n{error}", file=sys.stderr)
    finally:
        with _signals_ignored():
            stack.stop()
    return 1


def down(directory: Path) -> int:
    """Ask the stack that runs in `directory` to end, and wait until it has. 0 also when none runs."""
    process = holder(directory)
    if process is None:
        return 0
    print(f"Stopping the stack that runs in {_shown(directory)} (process {process}).")
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGTERM)
    waiter = threading.Thread(target=wait_until_ended, args=(directory,), daemon=True)
    waiter.start()
    waiter.join(DOWN_SECONDS)
    if waiter.is_alive():
        print(f"It has not ended after {DOWN_SECONDS} s.", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local.stack", description="Darkroom's local stack.")
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("up", help="start everything and stay in the foreground")
    start.add_argument("--port", type=int, default=int(os.environ.get("PORT") or 7071), help="of the app; 0: any free")
    start.add_argument("--workers", type=int, default=int(os.environ.get("WORKERS") or 1), help="copies of the app")
    start.add_argument("--app", default=str(PROJECT), help="folder of the Functions app")
    stop = commands.add_parser("down", help="end the stack that runs in the folder")
    for command in (start, stop):
        command.add_argument("--dir", default=str(DEFAULT_DIRECTORY), help="folder of data, logs and stack.json")
    return parser


def _stop_on_signals(supervisor: Supervisor) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: supervisor.interrupt())


@contextlib.contextmanager
def _signals_ignored() -> Iterator[None]:
    """A second Ctrl-C must not leave half of the children behind; stopping takes seconds, not minutes."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    yield


def _say_already_running(directory: Path) -> None:
    info = running(directory)
    where = f"the app is at {info.app}" if info else "it is on its way up"
    print(f"A stack already runs in {_shown(directory)}: {where}.", file=sys.stderr)
    if info:
        print(_addresses(info), file=sys.stderr)
    print("End it with Ctrl-C in its terminal, or with: make stop", file=sys.stderr)


def _describe(info: StackInfo, *, real_model: bool) -> str:
    note = "\nThis calls a real deployment, and costs money." if real_model else ""
    return f"{_addresses(info)}\n\nA picture, saved as lighthouse.png:{note}\n\n{curl_line(info)}"


def curl_line(info: StackInfo) -> str:
    """A first request, ready to be pasted into a shell."""
    return _CURL.format(app=info.app, key=info.key)


def _addresses(info: StackInfo) -> str:
    directory = Path(info.directory)
    rows = {
        "app": f"{info.app}  (x-functions-key: {info.key})",
        "blobs": info.blob,
        "queues": info.queue,
        "tables": info.table,
        "model": info.model,
        "events": f"{info.topic}/_local/events",
        **({"telemetry": f"{info.telemetry}/_local/spans, metrics, logs"} if info.telemetry else {}),
        "certificate": _shown(Path(info.ca)),
        "all of this": f"{_shown(directory / 'stack.json')}, logs in {_shown(directory / 'logs')}",
    }
    return "\n".join(f"  {name:<12} {value}" for name, value in rows.items())


def _shown(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
