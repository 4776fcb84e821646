"""What all tests share: trust in this session's certificates, storage to write to, and the whole stack.

The certificate authority is made, and named in the environment, when this file is imported: aiohttp reads
`SSL_CERT_FILE` once, when it is first imported itself, which is after this.

- `azurite`: a fresh, empty storage account of one running Azurite, with the app's containers, queues and tables.
- `azurite_environment`: the same, with the settings the app needs already in `os.environ`.
- `stack`: the running local stack with the real app, one for the session; the model server, the topic, the vault and
  the identity endpoint forget what they saw before each test. `app_client` talks to its app with the function key.
- `make_stack`: a stack of the test's own, for tests that kill parts of it or need other settings.

The last two start many processes, so only tests under tests/stack, tests/clients and tests/faults may use them. When
such a test fails, what the host and the app logged meanwhile is shown with it.

When the last test has run, all that was logged is searched for what may be in no log (`run_logs`, and
`tests/support/run_logs.py`): keys, tokens, signatures and the prompts that were sent.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import shutil
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import settings

from local.azurite import READY, StorageAccount, accounts_environment, azurite_command, storage_account
from local.certificates import Certificates, ensure_certificates, trust_environment
from local.identity import TOKEN_PATH
from local.infrastructure import create_storage
from local.processes import Supervisor
from local.stack import Stack, StackOptions
from local.state import StackInfo
from tests.support import order
from tests.support.model_control import ModelControl
from tests.support.receiver import STACK_SIGNING_KEY
from tests.support.run_logs import RunLogs

# Shared machines stall now and then; what is slow here is not the property under test.
settings.register_profile("darkroom", deadline=None)
settings.load_profile("darkroom")

_SESSION = Path(tempfile.mkdtemp(prefix="darkroom-tests-"))
atexit.register(shutil.rmtree, _SESSION, ignore_errors=True)
_CERTIFICATES = ensure_certificates(_SESSION / "certificates")
os.environ.update(trust_environment(_CERTIFICATES))

_STACK_FOLDERS = ("stack", "clients", "faults")
_STACK_FIXTURES = {"stack", "session_stack", "make_stack"}
_STACK_LOGS = pytest.StashKey[list[tuple[Path, int]]]()
# A developer's own settings must not reach the stack under test: it might call, and pay for, a real deployment.
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "USER", "COVERAGE_PROCESS_START", "OPENBLAS_CORETYPE")
_STACK_SETTINGS = {
    "LOCAL_RPM": "1200",
    "LOCAL_LATENCY": "0",
    "LOCAL_HOST_GRACE_SECONDS": "1",
    "CALLBACK_HOSTS": "127.0.0.1",
    "CALLBACK_SIGNING_KEY": STACK_SIGNING_KEY,
    "IMAGE_URL_HOSTS": "127.0.0.1",
}

_RUN_LOGS = RunLogs(_SESSION / "kept-logs")
_ACCOUNTS = tuple(f"test{number:04}" for number in range(2000))
_IDENTITY_HEADER = "tests"


@pytest.fixture(scope="session", autouse=True)
def run_logs() -> Iterator[RunLogs]:
    """The logs of this run. Their search is the last thing done in it, since this fixture is the first to be made."""
    with _RUN_LOGS.keeping_lines():
        yield _RUN_LOGS
    found = _RUN_LOGS.findings()
    assert not found, "\n".join(["The logs of this run hold what may be in none:", *found[:20]])


@pytest.fixture(scope="session")
def certificates() -> Certificates:
    """The session's certificate authority and server certificate; the test process trusts them already."""
    return _CERTIFICATES


@pytest.fixture(scope="session")
def _azurite_accounts(certificates: Certificates) -> Iterator[Iterator[StorageAccount]]:
    """Identity endpoint and Azurite for the whole session; gives out one unused account after another."""
    _RUN_LOGS.watch(_SESSION / "azurite-logs")
    with Supervisor(_SESSION / "azurite-logs") as supervisor:
        identity = supervisor.start(
            "identity",
            [sys.executable, "-m", "local.identity"],
            ready={"url": r"^ready (\S+)"},
            env={**os.environ, "IDENTITY_HEADER": _IDENTITY_HEADER},
        )
        azurite = supervisor.start(
            "azurite",
            azurite_command(certificates, data=None),
            ready=READY,
            env={**os.environ, **accounts_environment(_ACCOUNTS)},
        )
        supervisor.wait_ready(identity, timeout=60)
        supervisor.wait_ready(azurite, timeout=60)
        environment = {
            "IDENTITY_ENDPOINT": identity.found["url"],
            "IDENTITY_HEADER": _IDENTITY_HEADER,
            **trust_environment(certificates),
        }
        yield (storage_account(azurite.found, name, environment) for name in _ACCOUNTS)


@pytest.fixture
def azurite(_azurite_accounts: Iterator[StorageAccount], certificates: Certificates) -> StorageAccount:
    """A storage account nobody used before: `blob`, `queue`, `table` URIs and the `environment` to reach them with."""
    account = next(_azurite_accounts)
    create_storage(account.blob, account.queue, account.table, certificates.ca)
    return account


@pytest.fixture
def azurite_environment(azurite: StorageAccount, monkeypatch: pytest.MonkeyPatch) -> StorageAccount:
    """The account of `azurite`, with its settings in this process's environment for the length of the test."""
    for name, value in azurite.environment.items():
        monkeypatch.setenv(name, value)
    return azurite


@pytest.fixture
def quiet_environment() -> dict[str, str]:
    """What children inherit from a person without settings of their own."""
    return _inherited()


def _inherited() -> dict[str, str]:
    return {name: os.environ[name] for name in _INHERITED if name in os.environ} | _STACK_SETTINGS


def _stack_options(directory: Path, **changes: Any) -> StackOptions:
    environ = {**_inherited(), **changes.pop("environ", {})}
    return StackOptions(directory=directory, environ=environ, certificates=_CERTIFICATES.ca.parent, **changes)


@pytest.fixture(scope="session")
def session_stack() -> Iterator[StackInfo]:
    """The session's stack as it is, without forgetting what other tests did to it."""
    with Stack(_stack_options(_SESSION / "stack")) as info:
        _watch(info)
        yield info
        _note(info)


@pytest.fixture(scope="session")
def _control(certificates: Certificates) -> Iterator[httpx.Client]:
    with httpx.Client(verify=ssl.create_default_context(cafile=certificates.ca)) as client:
        yield client


@pytest.fixture
def stack(session_stack: StackInfo, _control: httpx.Client, request: pytest.FixtureRequest) -> StackInfo:
    """The session's stack, its model server, topic and identity endpoint as if just started."""
    _remember_logs(request.node, session_stack)
    _forget(session_stack, _control)
    return session_stack


@pytest.fixture
async def app_client(stack: StackInfo) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the stack's app that presents the function key."""
    headers = {"x-functions-key": stack.key}
    async with httpx.AsyncClient(base_url=stack.app, headers=headers, timeout=60, trust_env=False) as client:
        yield client


@pytest.fixture
def make_stack(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Stack]]:
    """A function that starts a stack of the test's own: `make_stack(environ={...}, workers=2, app=..., configure=...)`.

    Its `info` has the addresses; `kill(name)` and `restart(name)` treat one part as a fault would.
    """
    with ExitStack() as stacks:

        def make(**changes: Any) -> Stack:
            made = Stack(_stack_options(tmp_path / f"stack-{next(numbers)}", **changes))
            info = stacks.enter_context(made)
            _remember_logs(request.node, info)
            _watch(info)
            stacks.callback(_note, info)
            return made

        numbers = itertools.count()
        yield make


def _watch(info: StackInfo) -> None:
    _RUN_LOGS.watch(Path(info.directory, "logs"), function_key=info.key, identity_header=info.identity_header)


def _note(info: StackInfo) -> None:
    """Ask a stack's stand-ins what they took, before they forget it; a test may have ended some of them."""
    with contextlib.suppress(httpx.HTTPError, ValueError):
        _RUN_LOGS.note_calls(ModelControl(info.model).calls())
    if info.telemetry is not None:
        from tests.support import telemetry  # it imports aiohttp, see above

        with contextlib.suppress(httpx.HTTPError):
            _RUN_LOGS.keep("telemetry", telemetry.everything(info))


def _forget(info: StackInfo, control: httpx.Client) -> None:
    _note(info)
    identity = info.identity.removesuffix(TOKEN_PATH)
    for address in (
        f"{info.model}/_local/behaviour",
        f"{info.model}/_local/calls",
        f"{info.topic}/_local/behaviour",
        f"{info.topic}/_local/events",
        f"{info.topic}/_local/publishes",
        f"{info.topic}/_local/dead-letters",
        f"{info.vault}/_local/behaviour",
        f"{info.vault}/_local/requests",
        f"{identity}/_local/requests",
    ):
        control.delete(address).raise_for_status()
    host = f"{info.app}/admin/_local/blob-events"
    control.delete(host, headers={"x-functions-key": info.key}).raise_for_status()


def _remember_logs(item: pytest.Item, info: StackInfo) -> None:
    logs = item.stash.setdefault(_STACK_LOGS, [])
    for log in Path(info.directory, "logs").glob("*.log"):
        logs.append((log, log.stat().st_size))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Show with a failure what each part of the stack logged while the test ran."""
    outcome: Any = yield
    report = outcome.get_result()
    if report.failed:
        for log, start in item.stash.get(_STACK_LOGS, []):
            written = log.read_bytes()[start:] if log.exists() else b""
            if written.strip():
                report.sections.append((f"{log.stem} log", written[-8000:].decode(errors="replace")))


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker that `pytest -m 'not stack'` leaves the slow tests out by."""
    config.addinivalue_line("markers", "stack: uses the whole local stack (set by itself)")
    config.addinivalue_line("markers", "long: takes half a minute or more, and is begun before the others of its kind")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Say how many processes `-n auto` means, unless the person who runs the tests said so in the environment."""
    return None if os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS") else order.workers(config)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that use the stack, refuse them outside the folders made for them, and put the fast ones first."""
    root = Path(__file__).parent
    for item in items:
        if _STACK_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.stack)
            if item.path.relative_to(root).parts[0] not in _STACK_FOLDERS:
                folders = ", ".join(f"tests/{name}" for name in _STACK_FOLDERS)
                raise pytest.UsageError(f"{item.nodeid} uses the stack; only tests in {folders} may")
    order.fast_first(items, root)
