"""Who is compared: the model server itself, Darkroom, and what else may stand before it.

All of them run at once, each in a process of its own, and take turns. The model is asked over TLS by everybody, or
by everybody without; the gateways are asked without, as the host asks a worker.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import environments, unpaced_worker
from bench.connection import Connection, Take
from bench.functions_host import FunctionsHost
from bench.gateways import litellm
from local.certificates import Certificates, trust_environment
from local.processes import Supervisor

DIRECT: Final = "direct"
PASS_THROUGH: Final = "pass-through"
PASS_THROUGH_NEW: Final = "pass-through, new connections"
FASTAPI: Final = "FastAPI and httpx"
LITELLM: Final = "LiteLLM"
BARE: Final = "bare function"
NAIVE: Final = "naive function"
DARKROOM: Final = "Darkroom"
DARKROOM_IN_PROCESS: Final = "Darkroom, storage in its process"
ALL: Final = (DIRECT, PASS_THROUGH, PASS_THROUGH_NEW, FASTAPI, LITELLM, BARE, NAIVE, DARKROOM, DARKROOM_IN_PROCESS)
READINGS: Final = {DARKROOM: "storage over the wire", DARKROOM_IN_PROCESS: "storage in its process"}
"""Of "null storage", by contender: what a target measured with it is told to be."""

_ROOT: Final = environments.ROOT
_LEAST: Final = {"get_health": "/api/health", "ping": "/ping"}
"""Requests that ask the model nothing, by the function of Darkroom or of the naive app that answers them."""
_IMAGES: Final = {"n4": 4, "n10": 10}
_LISTENS_SECONDS: Final = 60.0
_INHERITED: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "USER", "OPENBLAS_CORETYPE")
"""Nobody's own settings reach what is measured: they might name a deployment that costs money."""


@dataclass(frozen=True, slots=True)
class Contender:
    """`ask` sends one request for the answer of a name on a connection of `connect`; its body goes to `take`."""

    name: str
    pid: int
    connect: Callable[[], Connection]
    ask: Callable[[Connection, str, Take], bytes]


def body(answer: str) -> bytes:
    asked: dict[str, object] = {"prompt": "a photograph of a darkroom", "n": _IMAGES.get(answer, 1), "quality": "low"}
    if answer in ("partials", "paced"):
        asked |= {"stream": True, "partial_images": 3}
    return json.dumps(asked).encode()


def request(answer: str) -> tuple[str, bytes]:
    """Head, all but its last lines, and body."""
    if answer in _LEAST:
        return f"GET {_LEAST[answer]} HTTP/1.1\r\nHost: 127.0.0.1\r\n", b""
    content = body(answer)
    path = f"/openai/deployments/{answer}/images/generations?api-version=2025-04-01-preview"
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n", content


def environment(certificates: Certificates) -> dict[str, str]:
    given = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return {**given, **trust_environment(certificates), "PYTHONUNBUFFERED": "1"}


def module(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", name, *arguments]


@dataclass(frozen=True, slots=True)
class Field:
    """Where the contenders meet: the servers behind them run, and each contender is started when asked for."""

    directory: Path
    certificates: Certificates
    supervisor: Supervisor
    stack: ExitStack
    model: str
    deployments: Sequence[str]

    def start(self, names: Sequence[str]) -> list[Contender]:
        makers = {
            DIRECT: self._direct,
            PASS_THROUGH: self._pass_through,
            PASS_THROUGH_NEW: self._pass_through_new,
            FASTAPI: self._fastapi,
            LITELLM: self._litellm,
            BARE: self._bare,
            NAIVE: self._naive,
            DARKROOM: self._darkroom,
            DARKROOM_IN_PROCESS: self._darkroom_in_process,
        }
        return [makers[name]() for name in names]

    def _darkroom(self) -> Contender:
        """Darkroom's worker with no pacing, and with servers for storage that keep next to nothing."""
        tables, blobs, topic = (self._server(kind, "bench.null_azure") for kind in ("tables", "blobs", "topic"))
        storage = {
            "STORAGE__blobServiceUri": f"https://127.0.0.1:{blobs}",
            "STORAGE__queueServiceUri": f"https://127.0.0.1:{topic}",
            "STORAGE__tableServiceUri": f"https://127.0.0.1:{tables}",
            "EVENTS__topicEndpointUri": f"https://127.0.0.1:{topic}/api/events",
        }
        return self._worker(DARKROOM, "bench.unpaced_worker", storage)

    def _darkroom_in_process(self) -> Contender:
        """The same, with dictionaries of its own for storage."""
        account = "https://in-process.{}.example"
        storage = {f"STORAGE__{kind}ServiceUri": account.format(kind) for kind in ("blob", "queue", "table")}
        storage["EVENTS__topicEndpointUri"] = account.format("topic")
        return self._worker(DARKROOM_IN_PROCESS, "bench.in_process_worker", storage)

    def _worker(self, name: str, program: str, storage: Mapping[str, str]) -> Contender:
        log = self.directory / f"{program}.log"
        host = self.stack.enter_context(FunctionsHost(_ROOT, self._app_settings(storage), log, program))
        return _function(name, host, "image_generations")

    def _bare(self) -> Contender:
        return self._simple_function(BARE, "bare_function")

    def _naive(self) -> Contender:
        return self._simple_function(NAIVE, "naive_function")

    def _simple_function(self, name: str, folder: str) -> Contender:
        """A function that looks at nothing but the request."""
        settings = {**environment(self.certificates), "AZURE_OPENAI_ENDPOINT": self.model}
        log = self.directory / f"{folder}.log"
        host = self.stack.enter_context(FunctionsHost(_ROOT / "bench" / folder, settings, log))
        return _function(name, host, "generations")

    def _direct(self) -> Contender:
        trust = ssl.create_default_context(cafile=str(self.certificates.ca)) if self.model.startswith("https") else None
        return _http(DIRECT, os.getpid(), int(self.model.rpartition(":")[2]), trust)

    def _pass_through(self) -> Contender:
        return self._program(PASS_THROUGH, module("bench.gateways.passthrough", self.model))

    def _pass_through_new(self) -> Contender:
        return self._program(PASS_THROUGH_NEW, module("bench.gateways.passthrough", self.model, "--new-connections"))

    def _fastapi(self) -> Contender:
        return self._program(FASTAPI, module("bench.gateways.fastapi_httpx", self.model))

    def _litellm(self) -> Contender:
        python = environments.python(litellm.ENVIRONMENT, litellm.REQUIREMENT)
        configuration = self.directory / "litellm.yaml"
        configuration.write_text(litellm.configuration(self.model, self.deployments))
        port = litellm.free_port()
        child = self.supervisor.start(
            "litellm",
            litellm.command(python, configuration, port),
            ready={"configured": r"(Set models)"},
            env=litellm.environment(environment(self.certificates)),
            cwd=self.directory,
        )
        self.supervisor.wait_ready(child, timeout=120)
        listening(port)
        return _http(LITELLM, child.pid, port)

    def _program(self, name: str, command: list[str]) -> Contender:
        child = self.supervisor.start(
            name, command, ready={"port": r"^(\d+)$"}, env=environment(self.certificates), cwd=_ROOT
        )
        self.supervisor.wait_ready(child, timeout=60)
        return _http(name, child.pid, int(child.found["port"]))

    def _app_settings(self, storage: Mapping[str, str]) -> dict[str, str]:
        scheme, _, authority = self.model.partition("://")
        deployments = [
            {"name": name, "endpoint": f"https://{authority}", "deployment": name, "model": "gpt-image-1"}
            for name in self.deployments
        ]
        identity = self.supervisor.start(
            "identity",
            module("local.identity"),
            ready={"url": r"^ready (\S+)"},
            env={**environment(self.certificates), "IDENTITY_HEADER": "bench"},
            cwd=_ROOT,
        )
        self.supervisor.wait_ready(identity, timeout=60)
        return {
            **environment(self.certificates),
            **({unpaced_worker.PLAIN_MODEL: "1"} if scheme == "http" else {}),
            "DEPLOYMENTS": json.dumps(deployments),
            **storage,
            "IDENTITY_ENDPOINT": identity.found["url"],
            "IDENTITY_HEADER": "bench",
            "PUBLIC_BASE_URL": "https://darkroom.example",
        }

    def _server(self, kind: str, name: str) -> str:
        return server(self.supervisor, self.certificates, name, kind)


def server(
    supervisor: Supervisor,
    certificates: Certificates,
    name: str,
    kind: str,
    files: Sequence[Path] = (),
    *,
    secure: bool = True,
) -> str:
    """Start one of the servers of `bench`; its port."""
    trust = [str(certificates.cert), str(certificates.key)] if secure else ["", ""]
    arguments = [kind, *trust, *map(str, files)]
    child = supervisor.start(
        kind, module(name, *arguments), ready={"port": r"^(\d+)$"}, env=environment(certificates), cwd=_ROOT
    )
    supervisor.wait_ready(child, timeout=60)
    return child.found["port"]


@contextmanager
def field(
    directory: Path, certificates: Certificates, files: Mapping[str, Path], *, secure: bool = True
) -> Iterator[Field]:
    """The model server with an answer for each name in `files`, `secure` over TLS."""
    with Supervisor(directory / "logs") as supervisor, ExitStack() as stack:
        port = server(supervisor, certificates, "bench.servers", "model", list(files.values()), secure=secure)
        model = f"{'https' if secure else 'http'}://127.0.0.1:{port}"
        yield Field(directory, certificates, supervisor, stack, model, list(files))


def listening(port: int) -> None:
    """Wait for a server that does not say when it listens."""
    end = time.monotonic() + _LISTENS_SECONDS
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        if time.monotonic() > end:
            raise TimeoutError(f"nothing listens on port {port}")
        time.sleep(0.05)


def _http(name: str, pid: int, port: int, trust: ssl.SSLContext | None = None) -> Contender:
    def ask(connection: Connection, answer: str, take: Take) -> bytes:
        head, content = request(answer)
        connection.send(f"{head}\r\n".encode() + content)
        return connection.receive(take)

    return Contender(name, pid, lambda: Connection(port, trust), ask)


def _function(name: str, host: FunctionsHost, function: str) -> Contender:
    def ask(connection: Connection, answer: str, take: Take) -> bytes:
        head, content = request(answer)
        if answer in _LEAST:
            return host.ask(connection, answer, {}, head, content, take)
        return host.ask(connection, function, {"deployment": answer}, head, content, take)

    return Contender(name, host.pid, lambda: Connection(host.port), ask)
