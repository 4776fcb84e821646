"""What the stack's topic, identity endpoint, vault and storage saw or hold, past the app's own code.

Each call opens a connection of its own, so nothing has to be closed, and sync and async tests may use it alike. The
model server is asked by `model_control`, whole containers and tables by `storage`.
"""

from __future__ import annotations

import ssl
from functools import cache
from typing import Any

import httpx
from azure.data.tables import TableClient
from azure.storage.blob import BlobClient

from local.identity import TOKEN_PATH
from local.state import StackInfo
from tests.support.storage import StaticCredential

TIMEOUT = 60.0


def fetch(info: StackInfo, method: str, url: str, **options: Any) -> httpx.Response:
    """One request by a stranger: no credential but what `options` bring, trust in the stack's certificates alone."""
    return httpx.request(method, url, verify=_trust(info.ca), trust_env=False, timeout=TIMEOUT, **options)


def events(info: StackInfo, job: str) -> list[dict[str, Any]]:
    """The events the topic took of one job."""
    taken = _control(info, "GET", f"{info.topic}/_local/events", params={"subject": f"jobs/{job}"})["events"]
    return list(taken)


def events_of(info: StackInfo, owner: str) -> list[dict[str, Any]]:
    """The events of all jobs of one owner since the topic was last told to forget."""
    taken = _control(info, "GET", f"{info.topic}/_local/events")["events"]
    return [event for event in taken if event["data"]["owner"] == owner]


def all_events(info: StackInfo) -> list[dict[str, Any]]:
    """Every event since the topic was last told to forget."""
    return list(_control(info, "GET", f"{info.topic}/_local/events")["events"])


def publishes(info: StackInfo) -> list[dict[str, Any]]:
    """Every publish request since the test began, refused ones too."""
    return list(_control(info, "GET", f"{info.topic}/_local/publishes")["publishes"])


def disturb_topic(info: StackInfo, **fault: Any) -> None:
    """Let the next publish requests go wrong: `count`, `status`, `delay_seconds`, `keep` (`local/topic.py`)."""
    _control(info, "PUT", f"{info.topic}/_local/behaviour", json={"faults": [fault]})


def token_requests(info: StackInfo) -> list[dict[str, Any]]:
    """Every request for a token since the test began."""
    address = info.identity.removesuffix(TOKEN_PATH)
    return list(_control(info, "GET", f"{address}/_local/requests")["requests"])


def vault_requests(info: StackInfo) -> list[dict[str, Any]]:
    """Every request to the vault since the test began, refused ones too."""
    return list(_control(info, "GET", f"{info.vault}/_local/requests")["requests"])


def blob(info: StackInfo, name: str) -> BlobClient:
    """The blob `container/name`."""
    container, _, path = name.partition("/")
    return BlobClient(info.blob, container, path, credential=StaticCredential())


def table(info: StackInfo, name: str) -> TableClient:
    """The table `name`."""
    return TableClient(info.table, name, credential=StaticCredential())


def _control(info: StackInfo, method: str, url: str, **options: Any) -> Any:
    answer = fetch(info, method, url, **options)
    answer.raise_for_status()
    return answer.json()


@cache
def _trust(ca: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca)
