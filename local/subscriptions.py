"""Who wants to hear of events, and getting them there: handshake, filters, delivery with retries, dead letters.

`topic.py` comes in by `Subscriptions.add` (validated by the CloudEvents handshake before anything is sent,
https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/http-webhook.md) and `Subscriptions.publish`. Delivery keeps
Event Grid's contract (https://learn.microsoft.com/azure/event-grid/delivery-and-retry): at least once, no order, 30 s
to answer, 200 to 204 is success, 400 and 413 are final, everything else comes again on a schedule of growing waits.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

ORIGIN = "eventgrid.azure.net"
ALLOWED_RATE = "120"
ANSWER_SECONDS = 30.0
VALIDATION_SECONDS = 300.0
SCHEDULE_SECONDS = (10, 30, 60, 300, 600, 1800, 3600)  # then every hour
MAX_ATTEMPTS = 30
DELIVERED = frozenset({200, 201, 202, 203, 204})
FINAL = {400: "UndeliverableDueToHttpBadRequest", 413: "UndeliverableDueToHttpRequestEntityTooLarge"}
SCHEMA = "CloudEventSchemaV1_0"
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_FILTERS = {"subjectBeginsWith", "subjectEndsWith", "includedEventTypes"}
_IN_FLIGHT = 16


class SubscriptionError(ValueError):
    """A subscription was refused; the message says why."""


@dataclass
class Subscription:
    """One webhook and what it wants. `state` is `Succeeded` once the handshake is done, else `AwaitingManualAction`."""

    name: str
    endpoint: str
    filters: dict[str, Any]
    max_attempts: int
    state: str = "AwaitingManualAction"
    created: float = field(default_factory=time.time)

    def wants(self, event: dict[str, Any]) -> bool:
        """Whether the filters let `event` through; subjects compare without case, as Event Grid does by default."""
        subject = str(event.get("subject", "")).lower()
        types = self.filters.get("includedEventTypes")
        return (
            subject.startswith(str(self.filters.get("subjectBeginsWith", "")).lower())
            and subject.endswith(str(self.filters.get("subjectEndsWith", "")).lower())
            and (not types or event["type"] in types)
        )

    def public(self) -> dict[str, Any]:
        """What the control routes show of it."""
        return {"name": self.name, "endpoint": self.endpoint, "filters": self.filters, "state": self.state}


class Subscriptions:
    """All subscriptions of one topic, and the deliveries under way."""

    def __init__(self, trust: ssl.SSLContext, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """`trust` is what deliveries by https trust; `transport` carries them elsewhere than over the network."""
        self.retry_scale = 1.0  # every wait of the schedule is multiplied by it
        self.dead_letters: list[dict[str, Any]] = []
        self._known: dict[str, Subscription] = {}
        self._client = httpx.AsyncClient(verify=trust, trust_env=False, timeout=ANSWER_SECONDS, transport=transport)
        self._deliveries: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(_IN_FLIGHT)

    @property
    def all(self) -> list[dict[str, Any]]:
        """Every subscription, as the control routes show it."""
        return [subscription.public() for subscription in self._known.values()]

    async def add(self, wanted: Any, callback: str) -> Subscription:
        """Shake hands with the endpoint of `wanted` and keep the subscription, replacing one of the same name.

        `callback` is the URL whose GET completes the handshake later. Raises SubscriptionError when the description is
        wrong, the endpoint is not on this machine, or it did not consent.
        """
        subscription = _read_subscription(wanted)
        headers = {"WebHook-Request-Origin": ORIGIN, "WebHook-Request-Rate": ALLOWED_RATE}
        headers["WebHook-Request-Callback"] = callback
        try:
            answer = await self._client.options(subscription.endpoint, headers=headers)
        except httpx.HTTPError as error:
            raise SubscriptionError(f"the endpoint could not be reached ({type(error).__name__})") from error
        if not answer.is_success:
            raise SubscriptionError(f"the endpoint answered {answer.status_code} to the validation handshake")
        if answer.headers.get("WebHook-Allowed-Origin", "").lower() in {"*", ORIGIN} and answer.status_code == 200:
            subscription.state = "Succeeded"
        self._known[subscription.name] = subscription
        return subscription

    def confirm(self, name: str) -> bool:
        """Complete the handshake of `name` by its callback URL; False when unknown or five minutes old."""
        subscription = self._known.get(name)
        if subscription is None or time.time() - subscription.created > VALIDATION_SECONDS:
            return False
        subscription.state = "Succeeded"
        return True

    def remove(self, name: str) -> bool:
        """Forget a subscription; what is under way to it is given up."""
        return self._known.pop(name, None) is not None

    def publish(self, event: dict[str, Any]) -> None:
        """Start delivering `event` to every confirmed subscription that wants it."""
        for subscription in self._known.values():
            if subscription.state == "Succeeded" and subscription.wants(event):
                task = asyncio.create_task(self._deliver(subscription, event))
                self._deliveries.add(task)
                task.add_done_callback(self._deliveries.discard)

    async def idle(self) -> None:
        """Wait until no delivery is under way: each event was taken, given up or dead-lettered."""
        while self._deliveries:
            await asyncio.wait(self._deliveries)

    async def close(self) -> None:
        """Give up what is under way."""
        for task in self._deliveries:
            task.cancel()
        await asyncio.gather(*self._deliveries, return_exceptions=True)
        await self._client.aclose()

    async def _deliver(self, subscription: Subscription, event: dict[str, Any]) -> None:
        published = time.time()
        reason, outcome, attempts = "MaxDeliveryAttemptsExceeded", "", 0
        while attempts < subscription.max_attempts:
            if self._known.get(subscription.name) is not subscription:
                return
            status, outcome = await self._attempt(subscription, event, attempts)
            attempts += 1
            if status in DELIVERED:
                return
            if status in FINAL:
                reason = FINAL[status]
                break
            if attempts < subscription.max_attempts:
                wait = SCHEDULE_SECONDS[min(attempts, len(SCHEDULE_SECONDS)) - 1]
                await asyncio.sleep(wait * self.retry_scale)
        self.dead_letters.append(
            {
                "subscription": subscription.name,
                "deadLetterReason": reason,
                "deliveryAttempts": attempts,
                "lastDeliveryOutcome": outcome,
                "publishTime": published,
                "lastDeliveryAttemptTime": time.time(),
                "event": event,
            }
        )

    async def _attempt(self, subscription: Subscription, event: dict[str, Any], attempt: int) -> tuple[int, str]:
        """Send `event` once; return the status (0 when there was none) and Event Grid's word for the outcome."""
        headers = {
            "aeg-event-type": "Notification",
            "aeg-subscription-name": subscription.name.upper(),
            "aeg-delivery-count": str(attempt),
            "Content-Type": "application/cloudevents+json; charset=utf-8",
        }
        try:
            async with self._slots:
                request = self._client.build_request("POST", subscription.endpoint, json=event, headers=headers)
                answer = await self._client.send(request)
        except httpx.TimeoutException:
            return 0, "TimedOut"
        except httpx.HTTPError as error:
            return 0, type(error).__name__
        return answer.status_code, f"HTTP {answer.status_code}"


def _read_subscription(wanted: Any) -> Subscription:
    if not isinstance(wanted, dict) or not isinstance(wanted.get("name"), str) or not wanted["name"]:
        raise SubscriptionError("a subscription is an object with a name and an endpoint")
    unknown = wanted.keys() - {"name", "endpoint", "schema", "filters", "maxDeliveryAttempts"}
    filters = wanted.get("filters") or {}
    if unknown or not isinstance(filters, dict) or filters.keys() - _FILTERS:
        raise SubscriptionError(f"known filters are {', '.join(sorted(_FILTERS))}; unknown: {sorted(unknown)}")
    if wanted.get("schema", SCHEMA) != SCHEMA:
        raise SubscriptionError(f"a topic that takes CloudEvents delivers {SCHEMA} only")
    endpoint = wanted.get("endpoint")
    url = urlsplit(endpoint) if isinstance(endpoint, str) else None
    if url is None or url.scheme not in {"http", "https"} or url.hostname not in _LOOPBACK:
        raise SubscriptionError("the endpoint must be an http or https URL on this machine (127.0.0.1 or localhost)")
    attempts = wanted.get("maxDeliveryAttempts", MAX_ATTEMPTS)
    if not isinstance(attempts, int) or isinstance(attempts, bool) or not 1 <= attempts <= MAX_ATTEMPTS:
        raise SubscriptionError(f"maxDeliveryAttempts is a whole number from 1 to {MAX_ATTEMPTS}")
    return Subscription(wanted["name"], str(endpoint), filters, attempts)
