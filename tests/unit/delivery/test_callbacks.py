"""Callbacks as their receivers see them: checked by the library that Standard Webhooks itself publishes."""

import base64
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from shared.delivery import callback_key, callbacks

ROOT = Path(__file__).parents[3]
KEY = f"whsec_{base64.b64encode(b'k' * 32).decode()}"
OLD = f"whsec_{base64.b64encode(b'o' * 24).decode()}"
HOST = "hooks.example.com"
ID = "0123456789abcdefghjkmnpqrs/succeeded"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def ended(**members: Any) -> dict[str, Any]:
    return {"id": ID[:26], "status": "succeeded", "finished_at": "2026-11-22T10:00:00.000Z", **members}


def signed(body: bytes, *keys: str, host: str = HOST, at: datetime | None = None) -> dict[str, str]:
    return callbacks.headers(keys or (KEY,), host, ID, at or datetime.now(UTC), body)


@given(st.dictionaries(st.text(max_size=8), JSON, max_size=4))
def test_a_receiver_with_its_hosts_key_takes_what_was_sent(metadata: dict[str, Any]):
    body = callbacks.payload(ended(metadata=metadata))
    message = Webhook(callbacks.host_key(KEY, HOST)).verify(body, signed(body))
    assert message["type"] == "Darkroom.Job.Succeeded"
    assert message["timestamp"] == "2026-11-22T10:00:00.000Z"
    assert message["data"] == ended(metadata=metadata)


@pytest.mark.parametrize(("status", "name"), [("failed", "Failed"), ("canceled", "Canceled")])
def test_the_type_is_that_of_the_event(status: str, name: str):
    assert json.loads(callbacks.payload(ended(status=status)))["type"] == f"Darkroom.Job.{name}"


def test_each_key_signs_so_that_one_can_replace_another():
    body = callbacks.payload(ended())
    headers = signed(body, KEY, OLD)
    assert len(headers["webhook-signature"].split(" ")) == 2
    for key in (KEY, OLD):
        Webhook(callbacks.host_key(key, HOST)).verify(body, headers)


def test_the_key_of_one_host_forges_nothing_for_another_and_tells_nothing_of_the_apps():
    body = callbacks.payload(ended())
    for stranger in (callbacks.host_key(KEY, "other.example.com"), callbacks.host_key(OLD, HOST), KEY):
        with pytest.raises(WebhookVerificationError):
            Webhook(stranger).verify(body, signed(body))


@given(st.integers(0, 200), st.integers(1, 255))
def test_a_body_that_was_changed_is_not_taken(position: int, change: int):
    body = callbacks.payload(ended(metadata={"a": "b" * 200}))
    other = bytearray(body)
    other[position] ^= change
    with pytest.raises((WebhookVerificationError, UnicodeDecodeError)):
        Webhook(callbacks.host_key(KEY, HOST)).verify(bytes(other), signed(body))


def test_a_callback_that_is_replayed_later_is_not_taken():
    body = callbacks.payload(ended())
    old = signed(body, at=datetime.now(UTC) - timedelta(minutes=6))
    with pytest.raises(WebhookVerificationError, match="too old"):
        Webhook(callbacks.host_key(KEY, HOST)).verify(body, old)


def test_a_hosts_key_stays_what_it_was():
    # Receivers hold it: a change of the derivation would make every one of them refuse its callbacks.
    assert callbacks.host_key(KEY, HOST) == "whsec_m0s1XLlMp+iJEexI5MnTcSj8JIBpX2Pdvs+tj270CM0="


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name != "CALLBACK_SIGNING_KEY"}
    return subprocess.run(
        [sys.executable, "-m", "shared.delivery.callback_key", *arguments],
        cwd=ROOT,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_prints_the_keys_of_a_host_the_current_one_first():
    done = command("Hooks.Example.com.", CALLBACK_SIGNING_KEY=f"{KEY} {OLD}")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [callbacks.host_key(KEY, HOST), callbacks.host_key(OLD, HOST)]


@pytest.mark.parametrize(
    ("arguments", "key", "said"),
    [
        ([], KEY, "HOST="),
        ([""], KEY, "HOST="),
        ([HOST], "", "CALLBACK_SIGNING_KEY"),
        ([HOST], "whsec_short", "CALLBACK_SIGNING_KEY"),
        (["https://hooks.example.com/x"], KEY, "no host name"),
        (["hooks.example.com:8443"], KEY, "no host name"),
        (["bücher.example"], KEY, "xn--"),
        (["hooks.example.com?x"], KEY, "no host name"),
    ],
)
def test_the_command_says_what_is_missing(monkeypatch, arguments: list[str], key: str, said: str):
    monkeypatch.setenv("CALLBACK_SIGNING_KEY", key)
    with pytest.raises(SystemExit) as caught:
        callback_key.main(arguments)
    assert said in str(caught.value.code)
    assert "k" * 8 not in str(caught.value.code)
