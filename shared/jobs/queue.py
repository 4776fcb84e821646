"""Queue `image-requests`: what we send to it, and how a message of anyone's is read.

Our own messages are claim-checks, `{"job_id": "..."}`. They are plain text: host.json sets `messageEncoding: none`, and
the SDK's queue client encodes nothing unless told to. Strangers' messages may be base64, because other hosts' default
is.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from shared.errors import DarkroomError
from shared.platform import strict_json

if TYPE_CHECKING:
    from azure.storage.queue.aio import QueueClient

# The service keeps a message invisible for 7 days at most
# (https://learn.microsoft.com/rest/api/storageservices/put-message).
MAX_DELAY = 7 * 24 * 60 * 60
_NEVER_EXPIRES = -1


class JobQueue:
    def __init__(self, queue: QueueClient) -> None:
        self._queue = queue

    async def submit(self, job_id: str, delay: float = 0.0) -> None:
        """Send the message that runs `job_id`, visible after `delay` seconds (rounded up).

        A message sent twice, by a retry after a lost answer, is met by the job's lease. Messages do not expire: a job
        may wait longer than the seven days they live by default.
        """
        await send(self._queue, {"job_id": job_id}, delay)


async def send(queue: QueueClient, message: Mapping[str, Any], delay: float = 0.0) -> None:
    """Send `message` as JSON, visible after `delay` seconds (rounded up), never to expire."""
    from azure.core.exceptions import AzureError

    try:
        await queue.send_message(
            json.dumps(message),
            visibility_timeout=min(max(0, math.ceil(delay)), MAX_DELAY),
            time_to_live=_NEVER_EXPIRES,
        )
    except AzureError as error:
        raise DarkroomError("storage_unavailable", "Queue Storage did not take a message.") from error


def parse_message(body: str | bytes) -> dict[str, Any]:
    """The JSON object of a message, plain or base64, with or without a byte order mark; raises `invalid_json`."""
    text = _text(body)
    if not text.startswith("{"):
        try:
            text = _text(base64.b64decode("".join(text.split()), validate=True))
        except (binascii.Error, ValueError):
            _refuse("is neither JSON nor base64 of JSON")
    message = strict_json.parse(text, "The queue message")
    if not isinstance(message, dict):
        _refuse("is no JSON object")
    return message


def _text(body: str | bytes) -> str:
    if isinstance(body, bytes):
        try:
            body = body.decode("utf-8")
        except UnicodeDecodeError:
            _refuse("is no UTF-8 text")
    return body.strip("\ufeff \t\r\n")


def _refuse(what: str) -> NoReturn:
    message = f"The queue message {what}; send a request as a JSON object, in UTF-8."
    raise DarkroomError("invalid_json", message) from None
