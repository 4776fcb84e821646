"""What the host makes of blob triggers, addresses of blobs and settings, without storage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.host.blob_behaviour import Behaviour, BehaviourError, read_behaviour
from local.host.blob_storage import Blob, BlobAccount, place_of
from local.host.blob_subscription import Subscription, created
from local.host.blobs import listening_rules, path_parts
from local.host.metadata import UnservedAppError, read_functions
from local.host.settings import BlobSettings, QueueSettings
from local.host.storage import Connections

AZURITE, AZURE = "https://127.0.0.1:10000/devstoreaccount1", "https://store.blob.core.windows.net"


def account(address: str = AZURITE) -> BlobAccount:
    return BlobAccount(address, None)  # type: ignore[arg-type]  # nothing is asked of it


def blob(name: str, etag: str = "0x1") -> Blob:
    return Blob(name, etag, "BlockBlob", "image/png", 3, "", "", "md5")


def indexed(**trigger: Any) -> list[dict[str, Any]]:
    binding = {"type": "blobTrigger", "name": "blob", "direction": "IN", "path": "drops/{name}", **trigger}
    return [{"id": "1", "name": "look", "bindings": [json.dumps(binding)]}]


def test_a_trigger_that_polls_is_refused_by_name() -> None:
    with pytest.raises(UnservedAppError, match=r"'look' polls its container.*EVENT_GRID"):
        read_functions(indexed())
    with pytest.raises(UnservedAppError, match="'look' polls"):
        read_functions(indexed(source="LogsAndContainerScan"))


def test_a_trigger_that_takes_bytes_is_refused_by_name() -> None:
    with pytest.raises(UnservedAppError, match="Parameter 'blob' of function 'look' takes the bytes"):
        read_functions(indexed(source="EventGrid"))
    assert read_functions(indexed(source="EventGrid", properties={"SupportsDeferredBinding": True}))


@pytest.mark.parametrize(
    ("pattern", "place", "parts"),
    [
        ("drops/{name}", "drops/a/b.png", {"name": "a/b.png"}),
        ("drops/{folder}/{file}", "drops/a/b/c.png", {"folder": "a/b", "file": "c.png"}),
        ("drops/{name}.{ext}", "drops/a.b.png", {"name": "a.b", "ext": "png"}),
        ("drops/{{x}}/{name}", "drops/{x}/a", {"name": "a"}),
        ("drops/{folder}/{file}", "drops/loose.png", {}),
        ("drops", "drops/a.png", {}),
    ],
)
def test_the_names_in_a_path_take_as_much_as_they_can(pattern: str, place: str, parts: dict[str, str]) -> None:
    assert path_parts(pattern, place) == parts


@given(
    address=st.sampled_from([AZURITE, AZURE]),
    name=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(lambda name: name.strip("/")),
)
def test_an_events_url_names_the_blob_it_was_made_for(address: str, name: str) -> None:
    event = created(account(address), "drops", blob(name), 1)

    assert place_of(event["data"]["url"]) == ("drops", name)
    assert event["subject"] == f"/blobServices/default/containers/drops/blobs/{name}"


@pytest.mark.parametrize("url", [None, 7, "", AZURITE, f"{AZURITE}/drops", f"{AZURE}/drops/", AZURE])
def test_an_address_without_a_blob_is_refused(url: Any) -> None:
    with pytest.raises(ValueError, match="names no blob"):
        place_of(url)


def test_an_event_has_the_members_of_the_documented_schema() -> None:
    event = created(account(AZURE), "drops", blob("a.png", "0x8D4"), 255)

    assert event.keys() == {
        *("topic", "subject", "eventType", "eventTime", "id", "data", "dataVersion", "metadataVersion")
    }  # fmt: skip
    assert event["topic"].endswith("/providers/Microsoft.Storage/storageAccounts/store")
    assert event["eventType"] == "Microsoft.Storage.BlobCreated"
    data = event["data"]
    assert (data["api"], data["eTag"], data["contentLength"]) == ("PutBlob", "0x8D4", 3)
    assert data.keys() == {
        *("api", "clientRequestId", "requestId", "eTag", "contentType", "contentLength", "blobType", "url"),
        *("sequencer", "storageDiagnostics"),
    }


def test_the_internal_queue_is_listened_to_as_the_extension_does() -> None:
    queues = QueueSettings(base64=False, max_polling_interval=2, visibility_timeout=10, lease=60)
    rules = listening_rules(BlobSettings(max_degree_of_parallelism=16, poison_blob_threshold=3), queues)

    assert (rules.base64, rules.batch_size, rules.new_batch_threshold) == (True, 9, 7)
    assert (rules.visibility_timeout, rules.max_dequeue_count) == (0, 3)
    assert listening_rules(BlobSettings(1), queues).batch_size == 1
    assert listening_rules(BlobSettings(200), queues).batch_size == 32


async def test_a_listing_is_read_to_its_last_page_and_encoded_names_are_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def page(name: str, marker: str) -> bytes:
        properties = "<Properties><Etag>0x1</Etag><Content-Length>3</Content-Length></Properties>"
        blobs = f"<Blobs><Blob>{name}{properties}</Blob></Blobs>"
        return f"<EnumerationResults>{blobs}<NextMarker>{marker}</NextMarker></EnumerationResults>".encode()

    asked: list[str] = []

    async def ask(_: BlobAccount, __: str, url: str) -> tuple[int, dict[str, str], bytes]:
        asked.append(url)
        pages = [page("<Name>a</Name>", "2!x/y"), page('<Name Encoded="true">b%EF%BF%BE</Name>', "")]
        return 200, {}, pages[len(asked) - 1]

    monkeypatch.setattr(BlobAccount, "_ask", ask)
    found = await account().list("drops")

    assert [(each.name, each.etag, each.length) for each in found] == [("a", "0x1", 3), ("b\ufffe", "0x1", 3)]
    assert asked[1].endswith("&marker=2%21x%2Fy")


def test_a_connection_without_a_blob_service_is_named() -> None:
    with pytest.raises(UnservedAppError, match="'STORAGE__blobServiceUri' is not set; a blob trigger"):
        Connections({}).blobs("STORAGE")
    with pytest.raises(UnservedAppError, match="https"):
        Connections({"STORAGE__blobServiceUri": "http://127.0.0.1:1/account"}).blobs("STORAGE")


def test_nothing_that_was_there_before_a_subscription_is_news() -> None:
    subscription = Subscription("f", account(), "drops")

    assert subscription.news([blob("old")]) == []
    assert subscription.news([blob("old"), blob("new")]) == [blob("new")]
    assert subscription.news([blob("old"), blob("new")]) == []
    assert subscription.news([blob("old", "0x2"), blob("new")]) == [blob("old", "0x2")]
    assert subscription.news([blob("new")]) == []
    assert subscription.news([blob("old", "0x2"), blob("new")]) == [blob("old", "0x2")]  # written again after a delete


def test_what_was_not_delivered_is_news_to_the_next_host(tmp_path: Path) -> None:
    file = tmp_path / "state" / "f.json"
    first = Subscription("f", account(), "drops", file)
    first.news([blob("old")])
    first.news([blob("old"), blob("a"), blob("b"), blob("c")])
    first.took(blob("a"))
    first.news([blob("old"), blob("a"), blob("b"), blob("c", "0x2")])
    first.took(blob("c", "0x1"))  # of the version before
    first.remember()

    second = Subscription("f", account(), "drops", file)
    second.recall()

    assert [each.name for each in second.news([blob("old"), blob("a"), blob("b"), blob("c", "0x2")])] == ["b", "c"]


def test_a_state_that_cannot_be_read_is_as_none(tmp_path: Path) -> None:
    file = tmp_path / "f.json"
    file.write_text("{")
    subscription = Subscription("f", account(), "drops", file)
    subscription.recall()

    assert subscription.news([blob("old")]) == []


def test_a_behaviour_is_read_with_its_defaults() -> None:
    assert read_behaviour({}) == Behaviour()
    assert read_behaviour({"delay_seconds": 2}).delay_seconds == (2, 2)
    assert read_behaviour({"duplicate": 0.5, "delay_seconds": [0, 1], "shuffle": True, "hold": True, "seed": 3}) == (
        Behaviour(0.5, (0, 1), shuffle=True, hold=True, seed=3)
    )


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        ([], "JSON object"),
        ({"twice": 1}, "unknown members: twice"),
        ({"duplicate": 1.5}, "duplicate"),
        ({"duplicate": "often"}, "duplicate"),
        ({"delay_seconds": [2, 1]}, "delay_seconds"),
        ({"delay_seconds": [1]}, "delay_seconds"),
        ({"delay_seconds": -1}, "delay_seconds"),
        ({"delay_seconds": float("inf")}, "delay_seconds"),
        ({"shuffle": 1}, "shuffle"),
        ({"hold": None}, "hold"),
        ({"seed": 0.5}, "seed"),
    ],
)
def test_what_is_no_behaviour_is_refused_by_member(wanted: Any, problem: str) -> None:
    with pytest.raises(BehaviourError, match=problem):
        read_behaviour(wanted)
