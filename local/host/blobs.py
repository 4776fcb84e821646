"""Blob triggers with Event Grid as their source: from a call of the webhook to the run of a function.

1. `frontend.py` comes in with each event that arrived at `/runtime/webhooks/blobs?functionName=Host.Functions.<name>`
   (real ones, and those of `blob_events.py`). It becomes a message on the host's internal queue, whatever it names.
2. A `QueueListener` of each worker takes the message. A function that does not exist and a blob that is gone are passed
   over with a line in the log; else the function runs with a reference to the blob, never with its bytes.
3. A message that failed `poisonBlobThreshold` times moves to `webjobs-blobtrigger-poison` as it is: it is the record.

The rules are those of BlobsExtensionConfigProvider.cs, BlobQueueTriggerExecutor.cs, SharedBlobQueueListenerFactory.cs
and BlobTriggerMessage.cs in Azure/azure-sdk-for-net. Three of them surprise: both queues hold base64 whatever host.json
says (QueueServiceClientProvider.cs of the blob extension); an event of an older version of the blob runs the function
too; and the path of a trigger filters nothing, that is left to the event subscription.
"""

from __future__ import annotations

import base64
import itertools
import json
import logging
import re
from dataclasses import dataclass
from typing import Any

from local.host.blob_storage import Blob, BlobAccount, place_of
from local.host.invocations import InvocationError, Value, invoke, jsonable, model_binding_data, text
from local.host.metadata import Function, resolve_settings
from local.host.queues import Handler, QueueListener, StorageError
from local.host.settings import BlobSettings, HostSettings, QueueSettings
from local.host.storage import Connections
from local.host.workers import Slot, Workers

INTERNAL_QUEUE = "azure-webjobs-blobtrigger-local"
"""`azure-webjobs-blobtrigger-<host id>` in Azure (HostQueueNames.cs)."""
POISON_QUEUE = "webjobs-blobtrigger-poison"
_MOST_IN_A_BATCH = 32  # messages that one request takes from a queue

log = logging.getLogger("host.blob")


@dataclass(frozen=True)
class BlobFunction:
    """A function with a blob trigger, and where its blobs are."""

    function: Function
    account: BlobAccount

    @property
    def id(self) -> str:
        """Its name in the webhook's address and in messages."""
        return f"Host.Functions.{self.function.name}"

    @property
    def path(self) -> str:
        """The trigger's path, such as `uploads/{folder}/{file}`."""
        return resolve_settings(self.function.trigger["path"])

    @property
    def container(self) -> str:
        """The container whose blobs it is told of."""
        return self.path.partition("/")[0]

    def value(self, container: str, blob: str) -> Value:
        """The trigger's value: a reference (BlobParameterBindingDataContent in BlobsExtensionConfigProvider.cs)."""
        connection = self.function.trigger.get("connection") or "AzureWebJobsStorage"
        content = {"Connection": connection, "ContainerName": container, "BlobName": blob}
        return model_binding_data("AzureStorageBlobs", json.dumps(content))

    def metadata(self, container: str, blob: Blob) -> dict[str, Value]:
        """The binding data (BlobTriggerBinding.cs): the parts of the path too, when the path fits."""
        properties = {
            "LastModified": blob.last_modified,
            "CreatedOn": blob.created_on,
            "ContentLength": blob.length,
            "ContentType": blob.content_type,
            "ETag": f'"{blob.etag}"',
        }
        place = f"{container}/{blob.name}"
        parts = path_parts(self.path, place)
        return {
            "BlobTrigger": text(place),
            "Uri": jsonable(self.account.url(container, blob.name)),
            "Properties": jsonable(properties),
            "Metadata": jsonable(dict(blob.metadata)),
            **{name: text(value) for name, value in parts.items()},
        }


class BlobTriggers:
    """All blob functions of an app, and the internal queue they share. Raises UnservedAppError."""

    def __init__(
        self, functions: list[Function], connections: Connections, workers: Workers, settings: HostSettings
    ) -> None:
        self.functions = {
            found.id: found
            for function in functions
            for found in (BlobFunction(function, connections.blobs(_connection(function))),)
        }
        connection = _connection(functions[0])
        self._workers, self._settings = workers, settings
        self._queue = connections.queue(connection, INTERNAL_QUEUE)
        poison = connections.queue(connection, POISON_QUEUE)
        rules = listening_rules(settings.blobs, settings.queues)
        self.listeners = [
            QueueListener(self._queue, poison, rules, self._handler(slot), slot.running) for slot in workers.slots
        ]
        self._turns = itertools.cycle(self.listeners)

    async def announce(self, function_id: str, event: dict[str, Any]) -> None:
        """Put an event of either schema on the internal queue. Raises ValueError for one without blob, StorageError."""
        data = event["data"] if isinstance(event.get("data"), dict) else {}
        container, blob = place_of(data.get("url"))
        record = {
            "Type": "BlobTrigger",
            "FunctionId": function_id,
            "BlobType": data.get("blobType", "BlockBlob"),
            "ContainerName": container,
            "BlobName": blob,
            "ETag": f'"{data.get("eTag", "")}"',
        }
        try:
            await self._queue.send(base64.b64encode(json.dumps(record).encode()).decode())
        except StorageError as error:
            log.warning("An event for '%s' could not be queued: %s", function_id, error)
            raise
        next(self._turns).notify()

    async def run_by_hand(self, function: Function, place: str) -> None:
        """Run a function for the blob `container/name` (ConvertFromInvokeString in BlobsExtensionConfigProvider.cs)."""
        container, _, blob = place.partition("/")
        await self._run(self._workers.next(), f"Host.Functions.{function.name}", container, blob)

    def _handler(self, slot: Slot) -> Handler:
        async def handle(value: Value, _: dict[str, Value]) -> None:
            try:
                record = json.loads(value["string"])
                function_id, container, blob = record["FunctionId"], record["ContainerName"], record["BlobName"]
            except (ValueError, KeyError, TypeError) as error:
                log.error("A message of queue '%s' is no blob trigger message.", INTERNAL_QUEUE)
                raise InvocationError("Invalid blob trigger message.") from error
            await self._run(slot, function_id, container, blob)

        return handle

    async def _run(self, slot: Slot, function_id: str, container: str, blob: str) -> None:
        found = self.functions.get(function_id)
        if found is None:
            log.warning("Blob '%s' is skipped: there is no function '%s'.", blob, function_id)
            return
        try:
            properties = await found.account.properties(container, blob)
        except StorageError as error:
            log.warning("Blob '%s' could not be looked at: %s", blob, error)
            raise InvocationError(str(error)) from error
        if properties is None:
            log.info("Blob '%s' is skipped: it is gone.", blob)
            return
        worker = await slot.running()
        await invoke(
            worker,
            found.function,
            found.value(container, blob),
            found.metadata(container, properties),
            time_limit=self._settings.function_timeout,
        )


def listening_rules(blobs: BlobSettings, queues: QueueSettings) -> QueueSettings:
    """How the internal queue is listened to (BlobsOptionsToQueuesOptions in SharedBlobQueueListenerFactory.cs).

    Azure's host asks it once a minute, and at once when it has itself put something there; this one also as often as
    the app's own queues, for what a host before it left.
    """
    batch_size = min(_MOST_IN_A_BATCH, blobs.max_degree_of_parallelism // 2 + 1)
    return QueueSettings(
        base64=True,
        batch_size=batch_size,
        new_batch_threshold=blobs.max_degree_of_parallelism - batch_size,
        max_polling_interval=queues.max_polling_interval,
        visibility_timeout=0.0,
        max_dequeue_count=blobs.poison_blob_threshold,
        lease=queues.lease,
    )


def path_parts(pattern: str, place: str) -> dict[str, str]:
    """The values of `{name}`s of a trigger's path in `container/blob`; none when the path does not fit.

    Each takes as much as it can, slashes included (BindingTemplateSource.cs in Azure/azure-webjobs-sdk).
    """
    pieces = re.split(r"(\{\{|\}\}|\{[^{}]*\})", pattern)
    names: dict[str, str] = {}
    expression = ""
    for piece in pieces:
        if piece in ("{{", "}}"):
            expression += re.escape(piece[0])
        elif piece.startswith("{"):
            group = f"p{len(names)}"
            names[group] = piece[1:-1]
            expression += f"(?P<{group}>.*)"
        else:
            expression += re.escape(piece)
    found = re.fullmatch(expression, place, re.DOTALL)
    return {name: found[group] for group, name in names.items()} if found else {}


def _connection(function: Function) -> str:
    return function.trigger.get("connection") or "AzureWebJobsStorage"
