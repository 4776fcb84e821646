"""The host: brings workers, listeners, timers and the front door together, and takes them down in the right order.

`__main__.py` makes one and runs it. Coming up: the port, the workers (which index the app), the door, the listeners,
the source of blob events. Going down: no new events, messages, requests or timer runs; a grace for what runs; then the
workers; then what they left.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import uvicorn

from local.host.blob_events import BlobEvents
from local.host.blob_subscription import Subscription
from local.host.blobs import BlobTriggers
from local.host.cors import CrossOrigin
from local.host.frontend import WEBHOOKS, Frontend
from local.host.invocations import InvocationError, Value, invoke, jsonable, text
from local.host.metadata import Function, UnservedAppError, read_functions, resolve_settings
from local.host.process import WorkerLostError, WorkerProcess
from local.host.proxy import Proxy
from local.host.queues import QueueListener, QueueMessage, trigger_metadata
from local.host.schedules import parse_schedule
from local.host.settings import HostSettings
from local.host.storage import Connections
from local.host.timers import Timer
from local.host.workers import Slot, Workers

_POISON = "-poison"
_CLIENT_KEEP_ALIVE_SECONDS = 120

log = logging.getLogger("host")


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: when to stop is the host's to say. `is_up` is set when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        self.is_up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


class Host:
    """One local Functions host. `listening` is the bound socket of its port."""

    def __init__(self, settings: HostSettings, workers: int, listening: socket.socket) -> None:
        self._settings = settings
        self._socket = listening
        self.address = f"127.0.0.1:{listening.getsockname()[1]}"
        self._environment = {"WEBSITE_HOSTNAME": self.address, **os.environ}
        self._workers = Workers(workers, self._start_worker)
        self._connections = Connections()
        self._proxy = Proxy(self._workers, settings)
        self._listeners: list[QueueListener] = []
        self._timers: list[Timer] = []
        self._blobs: BlobTriggers | None = None
        self._blob_events: BlobEvents | None = None
        self._background: set[asyncio.Task[None]] = set()
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self._frontend: Frontend | None = None

    async def start(self) -> list[Function]:
        """Come up and return the app's functions.

        Raises IndexingError, UnservedAppError or RouteTemplateError for the app's author, WorkerLostError otherwise.
        """
        worker = await self._workers.start()
        functions = read_functions(worker.functions)
        if worker.http_uri is None and any(function.kind == "httpTrigger" for function in functions):
            raise UnservedAppError(
                "The app's HTTP functions do not use HTTP streams; the local host serves no others. "
                "Import Request and Response from azurefunctions.extensions.http.fastapi."
            )
        await self._proxy.start()
        for function in functions:
            self._prepare(function)
        self._prepare_blobs([function for function in functions if function.kind == "blobTrigger"])
        self._frontend = Frontend(
            functions,
            self._workers,
            self._proxy,
            self._settings,
            self._trigger,
            self._deliver_event,
            self._blobs,
            self._blob_events,
        )
        await self._serve(self._frontend)
        for listener in self._listeners:
            listener.start()
        for timer in self._timers:
            timer.start()
        if self._blob_events is not None:
            await self._blob_events.start()
        return functions

    async def stop(self) -> None:
        """Go down: orderly within the grace, by force after it."""
        if self._frontend is not None:
            self._frontend.state = "Stopping"
        if self._blob_events is not None:
            await self._blob_events.stop()
        await asyncio.gather(*(timer.stop() for timer in self._timers), *(each.stop() for each in self._listeners))
        if self._server is not None:
            self._server.should_exit = True
        running = {task for each in self._listeners for task in each.running}
        running |= self._proxy.invocations | self._background
        running |= {self._serving} if self._serving else set()
        if running:
            await asyncio.wait(running, timeout=self._settings.grace)
        stopping = asyncio.ensure_future(self._workers.stop())
        await asyncio.gather(stopping, *(each.settle() for each in self._listeners))
        if self._server is not None and self._serving is not None:
            self._server.force_exit = True
            await asyncio.wait((self._serving,), timeout=1)
        await self._proxy.stop()
        await self._connections.close()

    async def _start_worker(self, label: str) -> WorkerProcess:
        return await WorkerProcess.start(label, self._settings.app, self._environment, self._settings.log_level)

    async def _serve(self, frontend: Frontend) -> None:
        configuration = uvicorn.Config(
            CrossOrigin(frontend, self._settings.origins),
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            interface="asgi3",
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_CLIENT_KEEP_ALIVE_SECONDS,
        )
        self._server = _Server(configuration)
        self._serving = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        await self._server.is_up.wait()

    def _prepare(self, function: Function) -> None:
        """Make what listens for a function. Raises UnservedAppError."""
        if function.kind == "queueTrigger":
            self._listeners += [self._queue_listener(function, slot) for slot in self._workers.slots]
        elif function.kind == "timerTrigger":
            self._timers.append(self._timer(function))

    def _prepare_blobs(self, functions: list[Function]) -> None:
        if not functions:
            return
        self._blobs = BlobTriggers(functions, self._connections, self._workers, self._settings)
        self._listeners += self._blobs.listeners
        directory = self._settings.state_directory
        subscriptions = [
            Subscription(
                each.id,
                each.account,
                each.container,
                directory / "blob-events" / f"{each.function.name}.json" if directory else None,
            )
            for each in self._blobs.functions.values()
        ]
        self._blob_events = BlobEvents(subscriptions, f"http://{self.address}{WEBHOOKS}blobs", self._settings.key)

    def _queue_listener(self, function: Function, slot: Slot) -> QueueListener:
        connection = function.trigger.get("connection") or "AzureWebJobsStorage"
        name = resolve_settings(function.trigger["queueName"]).lower()
        queue = self._connections.queue(connection, name)
        poison = None if name.endswith(_POISON) else self._connections.queue(connection, name + _POISON)

        async def handle(value: Value, metadata: dict[str, Value]) -> None:
            worker = await slot.running()
            await invoke(worker, function, value, metadata, time_limit=self._settings.function_timeout)

        return QueueListener(queue, poison, self._settings.queues, handle, slot.running)

    def _timer(self, function: Function) -> Timer:
        expression = resolve_settings(function.trigger["schedule"])
        try:
            schedule = parse_schedule(expression)
        except ValueError as error:
            raise UnservedAppError(f"The schedule of function '{function.name}' is wrong: {error}.") from error
        directory = self._settings.state_directory

        async def run(value: Value) -> None:
            await self._run(function, value, {})

        return Timer(
            function.name,
            schedule,
            run,
            run_on_startup=bool(function.trigger.get("runOnStartup")),
            remember=directory / "timers" / f"{function.name}.json" if directory else None,
        )

    async def _run(self, function: Function, value: Value, metadata: dict[str, Value]) -> None:
        worker = await self._workers.next().running()
        await invoke(worker, function, value, metadata, time_limit=self._settings.function_timeout)

    async def _deliver_event(self, function: Function, event: dict[str, Any]) -> None:
        await self._run(function, jsonable(event), {"data": jsonable(event.get("data"))})

    def _trigger(self, function: Function, given: str) -> None:
        """Start a function by hand, with `given` in place of what would have triggered it."""
        task = asyncio.create_task(self._by_hand(function, given))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _by_hand(self, function: Function, given: str) -> None:
        value, metadata = text(given), {}
        if function.kind == "blobTrigger" and self._blobs is not None:
            with contextlib.suppress(InvocationError, WorkerLostError):
                await self._blobs.run_by_hand(function, given)
            return
        if function.kind == "timerTrigger":
            timer = next(timer for timer in self._timers if timer.name == function.name)
            value = jsonable(timer.information(datetime.now(UTC), is_past_due=False))
        elif function.kind == "eventGridTrigger":
            value = {"json": given or "{}"}
        else:
            now = datetime.now(UTC)
            message = QueueMessage(str(uuid.uuid4()), given, "by hand", 1, now, now + timedelta(days=7), now)
            metadata = trigger_metadata(message, given)
        with contextlib.suppress(InvocationError, WorkerLostError):
            await self._run(function, value, metadata)
