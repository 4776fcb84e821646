"""A caller's list of jobs: what is in it, in which order, where it goes on, and that nothing opens another's."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from functions import jobs, uploads
from shared.jobs.batch import Batch
from shared.jobs.job import Door, Status, new_id, new_job, new_runner
from shared.jobs.outbox import PARTITION
from shared.jobs.rows import Change, Rows, utc_now
from shared.pipeline import listing
from shared.pipeline.rooms import rooms
from shared.platform import clients
from shared.platform.principals import Caller
from tests.support.app_in_process import CALLER, App
from tests.support.doors import call

ALICE = Caller("alice", sees_all=False)
BOB = Caller("bob", sees_all=False)
SUMMARY = {
    *("id", "kind", "status", "phase", "owner", "batch", "created_at", "started_at", "finished_at", "attempts"),
    *("deployment", "region", "error", "links"),
}


async def listed(**query: str) -> dict[str, Any]:
    """What `GET /api/jobs` answers a holder of a key."""
    answer = await call(jobs.list_jobs, method="GET", query=query)
    body: dict[str, Any] = json.loads(bytes(answer.body))
    assert answer.status_code == 200, body
    return body


async def refused(**query: str) -> dict[str, Any]:
    """The error of a list that is refused."""
    answer = await call(jobs.list_jobs, method="GET", query=query)
    assert answer.status_code == 400
    error: dict[str, Any] = json.loads(bytes(answer.body))["error"]
    return error


async def stored(count: int, *, owner: str = "key", ended: Status | None = None, batch: str | None = None) -> list[str]:
    """Ids of jobs that stand in the table alone, the newest first."""
    store = (await rooms()).store
    ids = []
    for _ in range(count):
        job = await store.create(
            new_job(kind="generate", door=Door.JOBS, owner=owner, now=utc_now(), batch=batch, runner=new_runner())
        )
        if ended:
            await store.finish(job, ended, error={"code": "x", "message": "y"} if ended is Status.FAILED else None)
        ids.append(job.id)
    return sorted(ids)


async def whole(caller: Caller = CALLER, **query: str) -> list[list[str]]:
    """The ids of every page of a list that is followed to its end."""
    pages: list[list[str]] = []
    going_on = None
    while going_on is not None or not pages:
        page = await listing.page(caller, continuation=going_on, **query)
        pages.append([job["id"] for job in page["data"]])
        going_on = page["continuation"]
    return pages


def ids_of(pages: list[list[str]]) -> list[str]:
    return [job_id for page in pages for job_id in page]


async def test_an_app_without_jobs_has_an_empty_list(app: App) -> None:
    assert await listed() == {"data": [], "continuation": None}


async def test_the_newest_come_first_and_pages_go_on_where_the_one_before_ended(app: App) -> None:
    ids = await stored(7)

    pages = await whole(limit="3")

    assert [len(page) for page in pages] == [3, 3, 1]
    assert ids_of(pages) == ids


async def test_an_entry_is_what_the_row_says_and_shows_neither_request_nor_images(app: App) -> None:
    job = await app.run()

    (entry,) = (await listed())["data"]

    document = await app.document(job.id)
    assert entry.keys() == SUMMARY
    assert entry == {name: document[name] for name in SUMMARY}


async def test_a_status_leaves_only_its_jobs(app: App) -> None:
    failed = await stored(2, ended=Status.FAILED)
    done = await stored(1, ended=Status.SUCCEEDED)
    running = await stored(1)

    assert ids_of(await whole(status="failed", limit="1")) == failed
    assert ids_of(await whole(status="succeeded")) == done
    assert ids_of(await whole(status="running")) == running
    assert ids_of(await whole(status="canceled")) == []
    assert [job["error"]["code"] for job in (await listed(status="failed"))["data"]] == ["x", "x"]


async def test_a_principal_sees_its_own_jobs_and_an_admin_all(app: App) -> None:
    alices, bobs = await stored(3, owner="alice"), await stored(2, owner="bob")

    assert ids_of(await whole(ALICE, limit="1")) == alices
    assert ids_of(await whole(BOB)) == bobs
    assert ids_of(await whole(Caller("carol", sees_all=True))) == sorted(alices + bobs)


async def test_an_owner_with_an_apostrophe_is_only_a_name(app: App) -> None:
    await stored(1, owner="bob")
    mine = await stored(1, owner="x' or owner eq 'bob")

    assert ids_of(await whole(Caller("x' or owner eq 'bob", sees_all=False))) == mine


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"status": "done"}, "status"),
        ({"status": "FAILED"}, "status"),
        ({"status": ""}, "status"),
        ({"limit": "0"}, "limit"),
        ({"limit": "101"}, "limit"),
        ({"limit": "-1"}, "limit"),
        ({"limit": "1.5"}, "limit"),
        ({"limit": "٣"}, "limit"),
        ({"limit": ""}, "limit"),
        ({"continuation": ""}, "continuation"),
        ({"continuation": "x"}, "continuation"),
        ({"continuation": "A" * 5_000}, "continuation"),
        ({"continuation": "ж"}, "continuation"),
    ],
)
async def test_a_wrong_value_is_refused_by_the_name_of_its_parameter(
    app: App, query: dict[str, str], param: str
) -> None:
    error = await refused(**query)

    assert (error["code"], error["param"]) == ("invalid_value", param)


async def test_an_unknown_parameter_is_refused_by_name(app: App) -> None:
    error = await refused(page="2")

    assert (error["code"], error["param"]) == ("unknown_parameter", "page")
    assert (await listed(code="a function key"))["data"] == []


@pytest.mark.parametrize("post", [jobs.submit_job, uploads.create_upload])
async def test_an_unknown_parameter_of_a_post_is_refused_before_anything_is_stored(app: App, post: Any) -> None:
    answer = await call(post, b"{}", query={"purge": "true"})

    assert json.loads(bytes(answer.body))["error"]["param"] == "purge"
    assert (app.storage.rows("jobs"), app.storage.blobs("requests")) == ([], [])


async def test_a_continuation_belongs_to_its_query_and_to_its_caller(app: App) -> None:
    await stored(3, owner="alice")
    admins = (await listed(limit="1"))["continuation"]

    assert (await listed(limit="2", continuation=admins))["data"], "the limit may change"
    assert (await refused(status="running", continuation=admins))["param"] == "continuation"
    with pytest.raises(Exception, match="continuation"):
        await listing.page(ALICE, continuation=admins)


@pytest.mark.parametrize(
    ("partition", "row"), [("jobs", "l:"), ("jobs", "o:"), ("jobs", ""), ("", ""), ("timers", "x"), ("jobs", None)]
)
async def test_a_forged_continuation_shows_nothing_but_the_callers_own_jobs(
    app: App, partition: str, row: str | None
) -> None:
    mine = await stored(2, owner="alice")
    await stored(2, owner="bob", ended=Status.FAILED)
    query = listing._fingerprint("alice", None, None)

    def encoded(text: str | None) -> str | None:
        # As Azurite has its marks; the service's own look alike.
        return text if text is None else base64.b64encode(text.encode()).decode()

    forged = base64.urlsafe_b64encode(json.dumps([query, encoded(partition), encoded(row)]).encode()).decode()
    page = await listing.page(ALICE, continuation=forged.rstrip("="))

    assert {job["id"] for job in page["data"]} <= set(mine)


@pytest.mark.parametrize("mark", [("\ud800", "j:"), ("jobs", "\udfff")])
async def test_a_continuation_of_what_is_no_text_is_refused(app: App, mark: tuple[str, str]) -> None:
    query = listing._fingerprint(None, None, None)
    forged = base64.urlsafe_b64encode(json.dumps([query, *mark]).encode()).decode()

    assert (await refused(continuation=forged.rstrip("=")))["param"] == "continuation"


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.text(max_size=60), st.binary(max_size=60).map(lambda raw: base64.urlsafe_b64encode(raw).decode())))
def test_no_text_is_a_continuation_by_chance(text: str) -> None:
    with pytest.raises(Exception, match="continuation") as caught:
        listing._mark(text, listing._fingerprint(None, None, None))

    assert getattr(caught.value, "status", None) == 400


async def a_batch(owner: str, count: int) -> tuple[str, list[str]]:
    """A batch whose jobs came to be in another order than its requests; the ids in the order of the requests."""
    now = utc_now()
    batch = Batch(new_id(now), owner, now, total=count)
    rows = Rows(clients.tables().get_table_client("jobs"))
    await rows.insert(batch.row())
    ids = list(reversed(await stored(count, owner=owner, batch=batch.id)))[::-1]
    ids = ids[1:] + ids[:1]
    await rows.commit(
        [
            Change("insert", {"PartitionKey": batch.id, "RowKey": f"c:{index:04d}", "job_id": job_id})
            for index, job_id in enumerate(ids)
        ]
    )
    return batch.id, ids


async def test_the_jobs_of_a_batch_come_in_the_order_of_its_requests(app: App) -> None:
    batch, ids = await a_batch("alice", 5)
    await stored(2, owner="alice")

    pages = await whole(ALICE, batch=batch, limit="2")

    assert [len(page) for page in pages] == [2, 2, 1]
    assert ids_of(pages) == ids
    assert ids_of(await whole(ALICE, batch=batch, status="running", limit="2")) == ids
    assert ids_of(await whole(ALICE, batch=batch, status="failed", limit="2")) == []


async def test_a_job_of_a_batch_that_is_not_there_yet_leaves_the_page_short(app: App) -> None:
    batch, ids = await a_batch("key", 2)
    rows = Rows(clients.tables().get_table_client("jobs"))
    await rows.insert({"PartitionKey": batch, "RowKey": "c:0002", "job_id": new_id(utc_now())})

    assert ids_of(await whole(batch=batch)) == ids


async def test_anothers_batch_and_one_that_is_none_are_not_found(app: App) -> None:
    batch, _ = await a_batch("alice", 1)

    for caller, wrong in ((BOB, batch), (ALICE, new_id(utc_now())), (ALICE, PARTITION), (ALICE, "timers"), (ALICE, "")):
        with pytest.raises(Exception, match="no such batch") as caught:
            await listing.page(caller, batch=wrong)
        assert getattr(caught.value, "code", None) == "not_found"
