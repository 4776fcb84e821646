"""The audit of `make chaos` finds what it is there to find: each test breaks one promise in evidence that holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.chaos import orders
from tests.chaos.audit import Account, audit
from tests.chaos.doors import Asked
from tests.chaos.evidence import Evidence, JobFacts, StoredImage
from tests.chaos.orders import Order

TAG = "chaos-0001"
JOB = "7" + "a" * 25
SHA = "5" * 64


def asked(door: str = "jobs", **changes: Any) -> Asked:
    order = Order(TAG, door, 0.0, {"prompt": f"a boat, {TAG}", "size": "1024x1024"})
    return Asked(order, **{"accepted": True, "job_ids": {JOB}, **changes})


def row(number: int = 1, outcome: str = "billed", **members: Any) -> dict[str, Any]:
    started_at = f"2026-11-22T12:00:{number:02}.000000Z"
    known = {"request_id": f"request-{number}"} if outcome == "billed" else {}
    return {"RowKey": f"{JOB}-{number}", "call": number, "outcome": outcome, "started_at": started_at} | known | members


def call(number: int = 1, **members: Any) -> dict[str, Any]:
    begun = {"sequence": number, "time": 1795348800.5 + number, "request_id": f"request-{number}", "fault": None}
    what = {"outcome": "ok", "status": 200, "billed": True, "images": [{"sha256": SHA}]}
    return {**begun, **what, "parameters": {"prompt": f"a boat, {TAG}"}, **members}


def refused(number: int = 1) -> dict[str, Any]:
    return call(number, outcome="refused", status=429, billed=False, images=[])


def job(status: str = "succeeded", job_id: str = JOB, **members: Any) -> JobFacts:
    image = StoredImage("results/x/0.png", SHA, SHA, {"job": job_id, "sha256": SHA})
    kind = f"Darkroom.Job.{status.capitalize()}"
    known = {
        "tag": TAG,
        "request": {"n": 1},
        "images": [image] if status == "succeeded" else [],
        "ledger": [row()],
        "events": [{"id": f"{job_id}/{status}", "type": kind}],
    }
    error = json.dumps({"code": "abandoned"}) if status == "failed" else None
    return JobFacts({"id": job_id, "status": status, "attempts": 1, "error": error}, **{**known, **members})


def evidence(*jobs: JobFacts, **members: Any) -> Evidence:
    nothing: dict[str, Any] = {"batches": {}, "children": {}, "claims": {}, "live": [], "outbox": []}
    nothing |= {
        "ledger_without_job": [],
        "blobs": set(),
        "staged": set(),
        "orphans": {},
        "batch_events": {},
        "calls": [call()],
    }
    return Evidence(jobs={each.id: each for each in jobs}, **{**nothing, **members})


def test_one_order_one_job_one_paid_call_is_as_it_should_be() -> None:
    account = audit([asked()], evidence(job()))
    assert account.violations == []
    assert account.orders == {("jobs", "succeeded"): 1}
    assert account.calls == {("ok, paid", "billed"): 1}
    assert (account.paid, account.images, account.sidecars, account.events) == ({1: 1}, 1, 1, 1)


def other(letter: str) -> str:
    return "7" + letter * 25


@pytest.mark.parametrize(
    ("found", "what"),
    [
        (lambda: evidence(calls=[]), "accepted and lost"),
        (lambda: evidence(job("running")), "has not ended"),
        (lambda: evidence(job(), job(job_id=other("b"), ledger=[])), "several jobs"),
        (lambda: evidence(job(events=[])), "its events are none"),
        (lambda: evidence(job(events=[*job().events, {"id": f"{JOB}/failed", "type": "x"}])), "its events are"),
        (lambda: evidence(job(images=[])), "with 0 of 1 images"),
        (lambda: evidence(job(images=[StoredImage("b", SHA, None, {"job": JOB, "sha256": SHA})])), "is not there"),
        (lambda: evidence(job(images=[StoredImage("b", SHA, "6" * 64, {"job": JOB, "sha256": SHA})])), "b is 666"),
        (lambda: evidence(job(images=[StoredImage("b", SHA, SHA, None)])), "no sidecar"),
        (lambda: evidence(job(images=[StoredImage("b", SHA, SHA, None, (SHA, "6" * 64))])), "is served as"),
        (lambda: evidence(job(), calls=[call(images=[{"sha256": "6" * 64}])]), "not those the model made"),
        (lambda: evidence(job(), live=["l:x"]), "has not ended"),
        (lambda: evidence(job(), outbox=["o:x"]), "has not ended"),
        (lambda: evidence(job(), orphans={"results/x": ["0.png"]}), "blobs without a job"),
        (lambda: evidence(job(), orphans={"requests/x": ["result.json"]}), "blobs without a job"),
        (lambda: evidence(job(), ledger_without_job=[row()]), "has no job"),
        (lambda: evidence(job(), calls=[call(), call(2, parameters={"prompt": "x"})]), "ordered by nobody"),
        (lambda: evidence(job(), job(job_id=other("b"), tag=None)), "asked for by nobody"),
        (lambda: evidence(job(), batch_events={"?": {"x"}}), "events of nobody"),
    ],
)
def test_what_is_lost_or_belongs_to_nobody_is_named(found: Callable[[], Evidence], what: str) -> None:
    assert any(what in violation for violation in audit([asked()], found()).violations)


@pytest.mark.parametrize(
    ("rows", "calls", "what"),
    [
        ([row()], [call(), call(2)], "a call without a row"),
        ([row()], [], "the service was not paid"),
        ([row(request_id="another")], [call()], "another call of the service"),
        ([row(outcome="started")], [call()], "nobody wrote down"),
        ([row(outcome="refused")], [call()], "did not refuse"),
        ([row(outcome="refused")], [], "did not refuse"),
        ([row(outcome="refused")], [call(outcome="cut", status=None, billed=False, images=[])], "did not refuse"),
        ([row(outcome="refused")], [call(outcome="cut")], "did not refuse"),
        ([row(outcome="void")], [refused()], "the service was called"),
        ([row(outcome="unknown", error_code="no_answer")], [call()], "answered well"),
        ([row(), row(2)], [call(), call(2)], "paid 2 times"),
        ([row(1, "unknown", error_code="no_answer"), row(2)], [call(fault="cut"), call(2)], "paid 2 times"),
    ],
)
def test_a_call_that_the_ledger_does_not_account_for_is_named(
    rows: list[dict[str, Any]], calls: list[dict[str, Any]], what: str
) -> None:
    account = audit([asked()], evidence(job(ledger=rows), calls=calls))
    assert any(what in violation for violation in account.violations)


def test_a_refusal_that_was_cut_within_its_text_is_still_one() -> None:
    cut = call(outcome="cut", status=400, billed=False, images=[])
    account = audit([asked()], evidence(job("failed", ledger=[row(outcome="refused")]), calls=[cut]))
    assert (account.violations, set(account.calls)) == ([], {("refused with 400", "refused")})


def test_a_second_payment_after_a_killed_runner_is_allowed_to_queued_doors_and_told() -> None:
    rows = [row(1, "unknown", error_code="runner_died"), row(2)]
    found = evidence(job(ledger=rows), calls=[call(outcome="left"), call(2)])
    queued = audit([asked("jobs")], found)
    assert (queued.violations, len(queued.paid_again)) == ([], 1)
    for never in (audit([asked("images")], found), audit([asked("jobs")], found, again=False)):
        assert ["paid 2 times" in violation for violation in never.violations] == [True]


def test_calls_that_were_refused_and_called_again_are_matched_by_their_time() -> None:
    rows = [row(1, "refused"), row(2, "void"), row(3)]
    account = audit([asked()], evidence(job(ledger=rows), calls=[refused(), call(3)]))
    assert account.violations == []
    assert set(account.calls) == {("refused with 429", "refused"), ("no call", "void"), ("ok, paid", "billed")}


def test_a_call_that_broke_off_before_its_prompt_came_belongs_to_the_row_begun_last() -> None:
    rows = [row(1, "unknown", error_code="runner_died"), row(2)]
    nameless = call(7, time=call(1)["time"], parameters={}, outcome="left", billed=False, images=[])
    account = audit([asked()], evidence(job(ledger=rows), calls=[nameless, call(2)]))
    assert account.violations == []
    assert set(account.calls) == {("left, not paid", "unknown"), ("ok, paid", "billed")}


def test_a_repeat_may_make_a_new_job_when_the_first_ended_without_a_call() -> None:
    first = job("failed", job_id=other("b"), ledger=[])
    first.row["attempts"] = 0
    account = audit([asked()], evidence(first, job()))
    assert (account.violations, account.renewed) == ([], 1)


def test_images_that_a_caller_got_are_those_that_were_stored() -> None:
    found = evidence(job())
    assert audit([asked("images", images=[[SHA]])], found).violations == []
    assert audit([asked("images", images=[["6" * 64]])], found).violations != []


def test_an_answer_that_passed_before_its_runner_was_killed_is_told_apart_from_a_wrong_one() -> None:
    died = [row(outcome="unknown", error_code="runner_died")]
    got = asked("images", images=[[SHA]])
    account = audit([got], evidence(job("failed", ledger=died)))
    assert account.passed_only == 1
    assert not [violation for violation in account.violations if "a caller got" in violation]
    wrong = audit([asked("images", images=[["6" * 64]])], evidence(job("failed", ledger=died)))
    assert any("a caller got" in violation for violation in wrong.violations)
    billed = audit([got], evidence(job("failed")))
    assert any("a caller got" in violation for violation in billed.violations)


def test_what_was_never_accepted_is_counted_and_its_files_are_told_apart() -> None:
    nobody = Asked(asked().order)
    account: Account = audit([nobody], evidence(calls=[], orphans={"requests/x": ["source-0"]}))
    assert account.violations == []
    assert account.orders == {("jobs", "never accepted"): 1}
    assert account.never_accepted == ["requests/x: source-0"]


def test_what_was_never_accepted_is_removed_and_nothing_else() -> None:
    mine, left = "requests/a/request.json", "requests/x/source-0"
    found = evidence(job(), blobs={mine, left}, orphans={"requests/x": ["source-0"]})
    assert audit([asked()], found, after_sweep={mine}).violations == []
    assert audit([asked()], found, after_sweep={mine, left}).violations == [f"the app does not remove {left}"]
    assert audit([asked()], found, after_sweep=set()).violations == [f"the app removed {mine}, which is a job's"]


def test_a_batch_has_its_jobs_in_order_its_counts_and_one_event() -> None:
    counts = {"total": 1, "succeeded": 1, "failed": 0, "canceled": 0}
    member = [asked("batches", batch_id="B", job_ids=set())]

    def found(*, children: list[str], events: set[str], **changes: int) -> Evidence:
        batch = {"batches": {"B": counts | changes}, "children": {"B": children}, "batch_events": {"B": events}}
        return evidence(job(), **batch)

    assert audit(member, found(children=[JOB], events={"B/completed"})).violations == []
    assert audit(member, found(children=[], events={"B/completed"})).violations != []
    assert audit(member, found(children=[JOB], events=set())).violations != []
    assert audit(member, found(children=[JOB], events={"B/completed"}, succeeded=0, failed=1)).violations != []


def test_the_same_seed_asks_for_the_same() -> None:
    first, second = orders.plan("x", 50, 10), orders.plan("x", 50, 10)
    assert first == second != orders.plan("y", 50, 10)
    assert {order.door for order in orders.plan("x", 5, 10)} == set(orders.DOORS)
