"""The whole of Azure this app needs, on one machine: starts it, watches it, stops it.

1. certificates (made once, renewed when near their end)
2. identity endpoint, Azurite, Event Grid topic, Key Vault and GPT-Image server, at the same time, on free ports
3. containers, queues and tables, as infrastructure would create them
4. the Functions host with the app
5. `stack.json` in the stack's folder, for whoever wants to talk to it

People come in by `python -m local.stack up` (see `local/commands.py`), tests and benchmarks by `Stack`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

import httpx

from local import environment
from local.azurite import READY as AZURITE_READY
from local.azurite import azurite_command, service_uri
from local.certificates import Certificates, ensure_certificates
from local.infrastructure import create_storage
from local.model.certificates import CA_FILE
from local.ports import HeldPorts
from local.processes import Child, ChildFailedError, Supervisor
from local.state import STATE_FILE, StackInfo, function_key, lock

PROJECT = Path(__file__).resolve().parent.parent
DEFAULT_DIRECTORY = PROJECT / ".local"
READY_SECONDS = 60.0
_URL = {"url": r"^ready (\S+)"}


class PortTakenError(Exception):
    """The app's port is in use by another program."""


@dataclass(frozen=True)
class StackOptions:
    """What to start. `port` 0 takes a free one; `environ` is what children inherit, and where settings come from.

    `configure` is given the app's whole environment just before the host starts and returns what to change in it, for
    settings that need the stack's own addresses. `certificates` is a folder to share certificates with others.
    """

    directory: Path = DEFAULT_DIRECTORY
    app: Path = PROJECT
    port: int = 0
    workers: int = 1
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    configure: Callable[[Mapping[str, str]], Mapping[str, str]] | None = None
    certificates: Path | None = None


class Stack:
    """A local stack. Entering it as a context starts everything and returns its `StackInfo`; leaving it stops all.

    Raises AlreadyRunningError when one runs in the same folder, PortTakenError, MissingNodeError, and
    ChildFailedError (with the last lines of the child) when something does not come up.
    """

    def __init__(
        self, options: StackOptions, say: Callable[[str], None] | None = None, echo: Callable[[str], None] | None = None
    ) -> None:
        """`say` is told each step; `echo` gets the lines that the host and the app write."""
        self.options = options
        self._say = say or (lambda _: None)
        self._echo = echo
        self._resources = ExitStack()
        self._ports = HeldPorts()
        self._launchers: dict[str, Callable[[Mapping[str, int]], Child]] = {}
        self._children: dict[str, Child] = {}
        self.supervisor: Supervisor | None = None
        self.info: StackInfo | None = None

    def __enter__(self) -> StackInfo:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, on_supervisor: Callable[[Supervisor], None] | None = None) -> StackInfo:
        """Start everything; return once the host answers. `on_supervisor` is called before the first child starts."""
        options, directory = self.options, self.options.directory
        self._resources.enter_context(lock(directory))
        port = _hold_port(self._resources.enter_context(self._ports), options.port)
        certificates = ensure_certificates(options.certificates or directory / "certificates", options.environ)
        self.supervisor = self._resources.enter_context(Supervisor(directory / "logs", self._echo))
        self._resources.callback((directory / STATE_FILE).unlink, missing_ok=True)
        if on_supervisor:
            on_supervisor(self.supervisor)

        identity_header = secrets.token_urlsafe(16)
        self._define_servers(certificates, identity_header)
        for name in self._launchers:
            self._children[name] = self._launchers[name]({})
        for name in self._launchers:
            self._await(name)
        info = self._describe(certificates, identity_header, f"http://127.0.0.1:{port}")

        started = time.monotonic()
        origins = options.environ.get("CORS_ORIGINS", "").replace(",", " ").split()
        create_storage(info.blob, info.queue, info.table, certificates.ca, origins)
        self._report("containers, queues, tables", time.monotonic() - started)

        self._define_host(certificates, info)
        self._children["host"] = self._launchers["host"]({"url": port})
        self._await("host")
        _check_host(info.app)
        self._publish(info)
        assert self.info is not None
        return self.info

    def wait(self) -> None:
        """Wait until a child ends (ChildFailedError) or somebody interrupts (InterruptedStackError)."""
        assert self.supervisor is not None
        self.supervisor.wait()

    def stop(self) -> None:
        """Take `stack.json` away and stop everything in reverse order. Does nothing when nothing runs."""
        self._resources.close()
        self.supervisor = None

    def kill(self, name: str, how: signal.Signals = signal.SIGKILL) -> None:
        """End one child (`host`, `azurite`, `topic`, `vault`, `model` or `identity`), as a fault would."""
        assert self.supervisor is not None
        child = self._children[name]
        self.supervisor.kill(child, how)
        with contextlib.suppress(OSError):  # taken in this very moment, as `restart` will say
            for port in _ports(child).values():
                self._ports.hold(port)

    def restart(self, name: str) -> None:
        """Start a child that `kill` ended, at the ports it had; return once it is ready."""
        self._children[name] = self._launchers[name](_ports(self._children[name]))
        self._await(name)
        assert self.info is not None
        self._publish(self.info)

    def _define_servers(self, certificates: Certificates, identity_header: str) -> None:
        """Say how each server that the host needs is started, at given ports or free ones."""
        environ, directory = self.options.environ, self.options.directory
        env = environment.child_environment(environ, certificates)
        tls = ("--cert", str(certificates.cert), "--key", str(certificates.key))
        audiences = [part for name in environment.real_audiences(environ) for part in ("--real-audience", name)]

        def identity(ports: Mapping[str, int]) -> Child:
            command = _module("local.identity", "--port", str(ports.get("url", 0)), *audiences)
            return self._launch("identity", command, {**env, "IDENTITY_HEADER": identity_header})

        def azurite(ports: Mapping[str, int]) -> Child:
            command = azurite_command(certificates, directory / "azurite", ports)
            return self._launch("azurite", command, env, AZURITE_READY)

        def topic(ports: Mapping[str, int]) -> Child:
            return self._launch("topic", _module("local.topic", "--port", str(ports.get("url", 0)), *tls), env)

        def vault(ports: Mapping[str, int]) -> Child:
            command = _module("local.key_vault", "--port", str(ports.get("url", 0)), *tls)
            return self._launch("vault", [*command, "--state-dir", str(directory / "vault")], env)

        def model(ports: Mapping[str, int]) -> Child:
            command = _module("local.model", "--port", str(ports.get("url", 0)), *tls)
            command += ["--state-dir", str(directory / "model"), "--rpm", environment.requests_per_minute(environ)]
            if latency := environ.get("LOCAL_LATENCY"):
                command += ["--latency", latency]
            return self._launch("model", command, env)

        self._launchers |= {"azurite": azurite, "identity": identity, "topic": topic, "vault": vault}
        if environment.real_endpoint(environ) is None:
            self._launchers["model"] = model
        if environment.wants_telemetry(environ):
            self._launchers["telemetry"] = lambda ports: self._launch(
                "telemetry", _module("local.otlp", "--port", str(ports.get("url", 0))), env
            )

    def _define_host(self, certificates: Certificates, info: StackInfo) -> None:
        env = environment.app_environment(self.options.environ, certificates, info)
        env.setdefault("LOCAL_HOST_STATE_DIR", str(self.options.directory / "host"))
        if self.options.configure is not None:
            env |= self.options.configure(env)

        def host(ports: Mapping[str, int]) -> Child:
            command = _module("local.host", "--app", str(self.options.app), "--port", str(ports["url"]))
            return self._launch("host", [*command, "--workers", str(self.options.workers)], env, echo=True)

        self._launchers["host"] = host

    def _launch(
        self,
        name: str,
        command: list[str],
        env: Mapping[str, str],
        ready: Mapping[str, str] = _URL,
        *,
        echo: bool = False,
    ) -> Child:
        assert self.supervisor is not None
        return self.supervisor.start(name, command, ready=ready, env=env, cwd=PROJECT, echo=echo)

    def _await(self, name: str) -> None:
        assert self.supervisor is not None
        child = self._children[name]
        self.supervisor.wait_ready(child, READY_SECONDS)
        self._report(f"{name} {' '.join(child.found.values())}", child.seconds_to_ready or 0.0)

    def _describe(self, certificates: Certificates, identity_header: str, app: str) -> StackInfo:
        directory, azurite = self.options.directory, self._children["azurite"].found
        local_model = "model" in self._children
        return StackInfo(
            app=app,
            blob=service_uri(azurite["blob"]),
            queue=service_uri(azurite["queue"]),
            table=service_uri(azurite["table"]),
            model=self._children["model"].found["url"]
            if local_model
            else self.options.environ["AZURE_OPENAI_ENDPOINT"],
            topic=self._children["topic"].found["url"],
            vault=self._children["vault"].found["url"],
            identity=self._children["identity"].found["url"],
            ca=str(certificates.ca),
            ca_bundle=str(certificates.bundle),
            key=function_key(directory),
            identity_header=identity_header,
            c2pa_ca=str(_signers(directory)) if local_model else None,
            directory=str(directory),
            telemetry=self._children["telemetry"].found["url"] if "telemetry" in self._children else None,
        )

    def _publish(self, info: StackInfo) -> None:
        pids = {"stack": os.getpid(), **{name: child.pid for name, child in self._children.items()}}
        self.info = dataclasses.replace(info, pids=pids)
        self.info.save()

    def _report(self, what: str, seconds: float) -> None:
        self._say(f"  {seconds:5.1f} s  {what}")


def _signers(directory: Path) -> Path:
    """Write the authorities of the model's signatures and of Darkroom's own into one file; return its path."""
    path = directory / CA_FILE
    path.write_text("".join((directory / name / CA_FILE).read_text() for name in ("model", "vault")))
    return path


def _module(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", name, *arguments]


def _ports(child: Child) -> dict[str, int]:
    """Return the ports a child has, or had, under the names of its services."""
    return {service: urlsplit(url).port or 0 for service, url in child.found.items()}


def _hold_port(ports: HeldPorts, port: int) -> int:
    """Hold `port`, or a free one for 0, and return it. Raises PortTakenError when another program listens on it."""
    try:
        return ports.hold(port)
    except OSError:
        raise PortTakenError(
            f"Port {port} is in use by another program. Stop that one, or choose another: PORT={port + 1} make run"
        ) from None


def _check_host(app: str) -> None:
    answer = httpx.get(f"{app}/admin/host/status", trust_env=False)
    if answer.status_code != 200 or answer.json().get("state") != "Running":
        raise ChildFailedError(f"host said it was ready, but its status is {answer.status_code} {answer.text[:200]}")


if __name__ == "__main__":
    from local.commands import main

    sys.exit(main())
