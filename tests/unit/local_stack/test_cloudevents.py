"""The CloudEvents rules the local topic applies."""

from __future__ import annotations

import base64
import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.cloudevents import BATCH, STRUCTURED, EventError, check_event, read_events

EVENT = {"specversion": "1.0", "id": "j/succeeded", "source": "/darkroom/local", "type": "Darkroom.Job.Succeeded"}


def batch(*events: Any) -> list[dict[str, Any]]:
    return read_events(BATCH, {}, json.dumps(events).encode())


def test_a_complete_event_comes_out_as_it_came_in() -> None:
    event = {
        **EVENT,
        "subject": "jobs/日本",
        "time": "2026-11-22T10:00:00.123Z",
        "datacontenttype": "application/json",
        "dataschema": "https://example.com/schema",
        "data": {"id": 1},
        "traceparent": "00-1-2-01",
        "sequence": 7,
        "urgent": True,
    }
    assert batch(event) == [event]


def test_events_of_a_batch_keep_their_order() -> None:
    events = [{**EVENT, "id": str(number)} for number in range(20)]
    assert batch(*events) == events


def test_a_null_attribute_is_an_absent_one() -> None:
    assert batch({**EVENT, "subject": None}) == [EVENT]


@pytest.mark.parametrize("name", ["specversion", "id", "source", "type"])
@pytest.mark.parametrize("value", [None, "", 1, True, [], {}])
def test_a_required_attribute_must_be_a_filled_string(name: str, value: Any) -> None:
    with pytest.raises(EventError, match=name):
        batch({**EVENT, name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("specversion", "0.3"),
        ("source", "has a space"),
        ("source", "/caf\u00e9"),
        ("source", "/%zz"),
        ("subject", ""),
        ("subject", "line\nbreak"),
        ("time", "2026-11-22"),
        ("time", "2026-11-22T10:00:00"),
        ("time", "2026-13-22T10:00:00Z"),
        ("datacontenttype", "json"),
        ("dataschema", "/relative"),
        ("data_base64", "not base64!"),
        ("data_base64", 5),
        ("Upper", "x"),
        ("with_underscore", "x"),
        ("float", 1.5),
        ("object", {}),
        ("large", 2**31),
    ],
)
def test_a_broken_rule_is_named(name: str, value: Any) -> None:
    with pytest.raises(EventError, match=name):
        batch({**EVENT, name: value})


def test_data_comes_in_one_form_only() -> None:
    with pytest.raises(EventError, match="data_base64"):
        batch({**EVENT, "data": 1, "data_base64": "AA=="})


def test_one_bad_event_spoils_the_batch_and_is_numbered() -> None:
    with pytest.raises(EventError, match="event 1"):
        batch(EVENT, {"id": "x"}, EVENT)


def test_a_structured_request_is_one_event() -> None:
    assert read_events(f"{STRUCTURED}; charset=UTF-8", {}, json.dumps(EVENT).encode()) == [EVENT]
    with pytest.raises(EventError):
        read_events(STRUCTURED, {}, json.dumps([EVENT]).encode())


def test_a_single_event_is_no_batch() -> None:
    with pytest.raises(EventError, match="array"):
        read_events(BATCH, {}, json.dumps(EVENT).encode())


@pytest.mark.parametrize(
    ("content_type", "body", "member", "value"),
    [
        ("application/json", b'{"a": 1}', "data", {"a": 1}),
        ("application/vnd.x+json", b"[1]", "data", [1]),
        ("text/plain", "é".encode(), "data", "é"),
        ("image/png", b"\x89PNG", "data_base64", base64.b64encode(b"\x89PNG").decode()),
    ],
)
def test_binary_mode_reads_headers_and_body(content_type: str, body: bytes, member: str, value: Any) -> None:
    headers = {f"ce-{name}": text for name, text in EVENT.items()} | {"ce-subject": "jobs/%C3%A9", "host": "x"}
    expected = {**EVENT, "subject": "jobs/é", "datacontenttype": content_type, member: value}
    assert read_events(content_type, headers, body) == [expected]


@pytest.mark.parametrize("content_type", ["application/json", "", "text/plain"])
def test_another_schema_is_refused(content_type: str) -> None:
    with pytest.raises(EventError, match=r"CloudEvents 1\.0 only"):
        read_events(content_type, {}, b'[{"eventType": "x", "dataVersion": "1"}]')


def test_another_charset_is_refused() -> None:
    with pytest.raises(EventError, match="UTF-8"):
        read_events(f"{BATCH}; charset=latin-1", {}, b"[]")


@given(
    st.dictionaries(
        st.text(), st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text())
    )
)
def test_any_object_is_accepted_or_refused_never_an_accident(members: dict[str, Any]) -> None:
    with contextlib.suppress(EventError):
        assert check_event({**members, **EVENT}, "the event").items() >= EVENT.items()


@given(st.binary())
def test_any_body_is_accepted_or_refused_never_an_accident(body: bytes) -> None:
    with contextlib.suppress(EventError):
        assert read_events(BATCH, {}, body) == []
