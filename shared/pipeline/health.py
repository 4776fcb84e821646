"""What an operator asks first: versions, settings that are wrong, each dependency, each deployment. No secrets."""

from __future__ import annotations

import asyncio
import platform
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from importlib import metadata
from typing import Any

import pybase64

from shared.delivery import provenance, signing, signing_identity
from shared.errors import DarkroomError
from shared.images import lifecycle
from shared.images.capabilities import problem
from shared.jobs.document import timestamp
from shared.pipeline import prices
from shared.pipeline.rooms import rooms
from shared.platform import clients, identity
from shared.settings import settings

_PACKAGES = (
    "azure-functions",
    "azure-storage-blob",
    "azure-identity",
    "httpx",
    "aiohttp",
    "pillow",
    "pybase64",
    "c2pa-python",
)
_PROBE_SECONDS = 5.0


async def details() -> dict[str, Any]:
    """`status` is `ok`, or `degraded` when a setting is wrong, a dependency does not answer or a deployment is out."""
    current = settings()
    found = [problem(entry.model) for entry in current.deployments]
    found += [provenance.trust_anchors_problem(current.c2pa_trust_anchors)]
    dependencies, (signer, warning) = await asyncio.gather(_dependencies(), _signing())
    dependencies |= signer
    found += [warning]
    problems = list(dict.fromkeys([*current.problems, *filter(None, found), *prices.problems()]))
    deployments = await _deployments()
    waiting = await _events_waiting_since()
    fine = (
        not problems
        and all(entry["status"] == "ok" for entry in dependencies.values())
        and not any(entry.get("out") for entry in deployments)
        and waiting is None
    )
    return {
        "status": "ok" if fine else "degraded",
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in _PACKAGES}},
        "base64": pybase64.get_version(),
        "problems": problems,
        "dependencies": dependencies,
        "events_waiting_since": timestamp(waiting),
        "deployments": deployments,
    }


async def _dependencies() -> dict[str, dict[str, Any]]:
    await clients.warm()
    probes: dict[str, Callable[[], Awaitable[object]]] = {
        "blobs": lambda: clients.blobs().get_container_client("results").get_container_properties(),
        "queue": lambda: clients.queues().get_queue_client("image-requests").get_queue_properties(),
        "tables": _probe_tables,
        "event_grid_token": lambda: clients.app_credential().get_token(identity.EVENT_GRID_SCOPE),
    }
    for scope in {entry.scope for entry in settings().deployments}:
        probes[f"model_token {scope}"] = clients.app_bearer(scope)
    answers = await asyncio.gather(*(_probe(probe) for probe in probes.values()))
    return dict(zip(probes, answers, strict=True))


async def _events_waiting_since() -> datetime | None:
    """When the oldest event that is due should have gone out, if that was over a minute ago: the topic refuses."""
    try:
        due = await (await rooms()).outbox.due(limit=1)
    except DarkroomError:
        return None
    late = [entry.due for entry in due if datetime.now(UTC) - entry.due > timedelta(minutes=1)]
    late += [datetime.now(UTC) for entry in due if entry.tries]
    return min(late, default=None)


async def _probe_tables() -> object:
    return await (await rooms()).pacer.view(settings().deployments)


async def _probe(probe: Callable[[], Awaitable[object]]) -> dict[str, Any]:
    began = time.monotonic()
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            await probe()
    except Exception as error:  # noqa: BLE001 - whatever a dependency fails with is what the page is for
        code = error.code if isinstance(error, DarkroomError) else getattr(error, "error_code", None)
        return {"status": "failed", "error": type(error).__name__, "code": str(code) if code else None}
    return {"status": "ok", "milliseconds": round((time.monotonic() - began) * 1000)}


async def _signing() -> tuple[dict[str, dict[str, Any]], str | None]:
    """The identity that signs derived images, as a dependency if there is one, and a sentence for the list of problems
    where something is wrong with it or will be soon."""
    if not signing.configured():
        return {}, signing_identity.problem()
    shown: dict[str, Any] = {}
    warning: str | None = None

    async def probe() -> None:
        nonlocal warning
        try:
            identity = await signing_identity.prove()
        except DarkroomError as error:
            warning = error.message if error.code == "misconfigured" else None
            raise
        shown["expires_on"] = signing_identity.ends_on(identity).isoformat()
        shown["days_left"] = signing_identity.days_left(identity)
        warning = signing_identity.ends_soon(identity)

    answer = await _probe(probe)
    return {"signing": {**answer, **shown}}, warning


async def _deployments() -> list[dict[str, Any]]:
    current = settings()
    try:
        states = {state.name: state for state in await (await rooms()).pacer.view(current.deployments)}
    except DarkroomError:
        states = {}
    shown = []
    for entry in current.deployments:
        state = states.get(entry.name)
        retires = lifecycle.retires_on(entry.model)
        shown.append(
            {
                "name": entry.name,
                "model": entry.model,
                "region": entry.region,
                "requests_per_minute": entry.requests_per_minute,
                "priority": entry.priority,
                "next_turn_at": timestamp(state.next_at) if state else None,
                "blocked_until": timestamp(state.blocked_until) if state else None,
                "out": state.out_reason if state else None,
                "model_retires_on": retires.isoformat() if retires else None,
            }
        )
    return shown
