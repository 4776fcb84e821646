"""What a running stack says about itself: `stack.json`, and the lock that tells whether it still runs.

`stack.py` writes both; the demo, benchmarks, tests and people read `stack.json` (mode 0600: it holds the function key).
The lock is an advisory one on `stack.lock`, held by the process that runs the stack and released by the system however
that process ends, so a `stack.json` that was left behind is never taken for a running stack.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

STATE_FILE = "stack.json"
LOCK_FILE = "stack.lock"
_KEY_FILE = "function-key"
_LOCK_ATTEMPTS = 5


class AlreadyRunningError(Exception):
    """Another process runs a stack in this folder."""


@dataclass(frozen=True)
class StackInfo:
    """A running stack. `app`, `model` and `topic` are base URLs; `blob`, `queue` and `table` the account's service
    URIs; `identity` is the value of IDENTITY_ENDPOINT, `identity_header` of IDENTITY_HEADER, `key` the function key.

    `ca` is the path of the certificate to trust, `ca_bundle` the same with the public roots, `c2pa_ca` the authorities
    of the local model's signatures and of Darkroom's (None when a real endpoint is used in the model's place).
    `vault` is the base URL of the Key Vault with the signing certificate.
    `telemetry` is the base URL of the receiver of traces, metrics and logs (None unless it was asked for). `pids` has
    one entry per child.
    """

    app: str
    blob: str
    queue: str
    table: str
    model: str
    topic: str
    identity: str
    ca: str
    ca_bundle: str
    key: str
    identity_header: str
    c2pa_ca: str | None
    directory: str
    telemetry: str | None = None
    vault: str | None = None
    pids: dict[str, int] = field(default_factory=dict)

    def save(self) -> None:
        """Write `stack.json` into the stack's folder, in one step."""
        path = Path(self.directory, STATE_FILE)
        temporary = path.with_suffix(".new")
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(dataclasses.asdict(self), file, indent=2)
            file.write("\n")
        temporary.replace(path)


def running(directory: Path) -> StackInfo | None:
    """Return the stack that runs in `directory` and is ready, else None."""
    if not _is_locked(directory):
        return None
    try:
        return StackInfo(**json.loads((directory / STATE_FILE).read_text()))
    except (OSError, ValueError, TypeError):
        return None  # it is on its way up, or down


@contextlib.contextmanager
def lock(directory: Path) -> Iterator[None]:
    """Hold the folder's lock; it holds this process's id for `holder`. Raises AlreadyRunningError when it is taken."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / LOCK_FILE).open("a+") as file:
        for attempt in range(_LOCK_ATTEMPTS):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if attempt == _LOCK_ATTEMPTS - 1:
                    raise AlreadyRunningError(str(directory)) from None
                time.sleep(0.02)  # `running` and `holder` of others hold it for a moment when they look
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def holder(directory: Path) -> int | None:
    """Return the id of the process that holds the folder's lock, None when nobody does."""
    if _is_locked(directory):
        with contextlib.suppress(OSError, ValueError):
            return int((directory / LOCK_FILE).read_text())
    return None


def _is_locked(directory: Path) -> bool:
    try:
        with (directory / LOCK_FILE).open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def wait_until_ended(directory: Path) -> None:
    """Block until nobody holds the folder's lock."""
    with (directory / LOCK_FILE).open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)


def function_key(directory: Path) -> str:
    """Return the folder's function key, the same at every start, so that what people wrote down keeps working."""
    path = directory / _KEY_FILE
    with contextlib.suppress(OSError):
        key = path.read_text().strip()
        if key:
            return key
    key = secrets.token_urlsafe(32)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(key)
    return key
