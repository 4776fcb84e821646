"""What the tests of this folder share.

- `model`: a GPT-Image server of the session with two deployments, `gpt-image-1` and `second`, new for each test.
- `app`: the pipeline in this process, against `model` and a fresh storage account; its one deployment is `gpt-image-1`.
  `configure` gives it other deployments and settings.
- `fitting_app`: `app`, which fits images to sizes that the model does not have; it has nothing to sign with.
- `signing_app`: `app`, which signs what it derives with `signing_vault`, and derives nothing that is not signed.
- `receiver`: an https server that notes what it is sent.
- `stack_model`, `stack_storage`: the model server and the storage of the session's stack; what a test's faults told
  the stack's app about its deployment is forgotten afterwards.
- `ask_often`: who waits in this process for a job that runs elsewhere looks at it all the time.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from local.azurite import StorageAccount
from local.certificates import Certificates, trust_environment
from local.key_vault import KeyVault
from local.processes import Supervisor
from local.state import StackInfo
from shared.pipeline import waiting
from tests.support.app_in_process import App, deployment, running, use_settings
from tests.support.model_control import ModelControl
from tests.support.receiver import Receiver, receiving
from tests.support.run_logs import RunLogs
from tests.support.storage import Storage
from tests.support.vault import Served, issued, serving


@pytest.fixture(scope="session")
def _model_server(certificates: Certificates) -> Iterator[ModelControl]:
    with tempfile.TemporaryDirectory() as folder, Supervisor(Path(folder) / "logs") as supervisor:
        command = [
            sys.executable,
            "-m",
            "local.model",
            "--cert",
            str(certificates.cert),
            "--key",
            str(certificates.key),
        ]
        command += ["--state-dir", f"{folder}/state", "--rpm", "0", "--latency", "0"]
        command += ["--deployment", "gpt-image-1=gpt-image-1", "--deployment", "second=gpt-image-1"]
        environment = {**os.environ, **trust_environment(certificates)}
        child = supervisor.start("model", command, ready={"url": r"^ready (\S+)"}, env=environment)
        supervisor.wait_ready(child, timeout=60)
        yield ModelControl(child.found["url"])


@pytest.fixture
def model(_model_server: ModelControl, run_logs: RunLogs) -> ModelControl:
    run_logs.note_calls(_model_server.calls())
    _model_server.forget()
    return _model_server


@pytest.fixture
def configure(azurite_environment: StorageAccount, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`configure([deployment(...), ...], SETTING="x")`: what the app of this test reads."""

    def change(deployments: list[dict[str, Any]], **settings: str) -> None:
        use_settings(monkeypatch, deployments, **settings)

    return change


@pytest.fixture
async def app(
    model: ModelControl, azurite_environment: StorageAccount, configure: Callable[..., None]
) -> AsyncIterator[App]:
    configure([deployment(model.url)])
    async with running(model, azurite_environment) as app:
        yield app


@pytest.fixture
def fitting_app(app: App, configure: Callable[..., None]) -> App:
    configure([deployment(app.model.url)], SIZE_FIT="contain")
    return app


@pytest.fixture(scope="session")
def _signing_vault(certificates: Certificates) -> Iterator[Served]:
    signer = issued()
    with serving(KeyVault(signer.certificate, signer.key), certificates) as served:
        yield served


@pytest.fixture
def signing_vault(_signing_vault: Served) -> Served:
    _signing_vault.vault.faults = []
    return _signing_vault


@pytest.fixture
def signing_app(app: App, configure: Callable[..., None], signing_vault: Served) -> App:
    configure(
        [deployment(app.model.url)],
        SIZE_FIT="cover",
        REQUIRE_PROVENANCE="1",
        SIGNING_CERTIFICATE=signing_vault.identifier,
        ALLOW_PRIVATE_NETWORKS="1",
    )
    return app


@pytest.fixture
async def receiver(certificates: Certificates) -> AsyncIterator[Receiver]:
    async with receiving(certificates) as receiver:
        yield receiver


@pytest.fixture
def stack_model(stack: StackInfo) -> ModelControl:
    return ModelControl(stack.model)


@pytest.fixture
def stack_storage(stack: StackInfo) -> Iterator[Storage]:
    storage = Storage(stack.blob, stack.table)
    storage.forget_pacing()
    yield storage
    storage.forget_pacing()


@pytest.fixture
def ask_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "ASK_EVERY", 0.02)
