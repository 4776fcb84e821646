"""A write that was done but whose answer got lost is recognised as done: nothing happens twice, nothing is denied.

In memory only: Azurite does not lose answers to order. The fake repeats and fails as the SDK does (`memory_table`).
"""

from __future__ import annotations

from datetime import timedelta

import pytest
from azure.core.exceptions import HttpResponseError, ServiceRequestError

from shared.errors import DarkroomError
from shared.jobs.batch import Batch
from shared.jobs.batches import BatchStore
from shared.jobs.idempotency import Idempotency, Own
from shared.jobs.job import Phase, Status, new_id
from shared.jobs.ledger import Ledger, Outcome
from shared.jobs.outbox import Outbox, OutboxEntry, What
from shared.jobs.pacing import Pacer
from shared.jobs.store import ClaimOutcome, JobStore
from shared.settings import Deployment

DEPLOYMENT = Deployment(name="dep", endpoint="https://example.com", deployment="dep")


@pytest.fixture
def store(memory, clock):
    return JobStore(memory, clock=clock)


async def test_a_job_whose_creation_was_not_answered_is_created(store, memory, make_job):
    job = make_job()
    memory.lose_answers = 1
    assert (await store.create(job)).same_as(job)


async def test_a_claim_whose_answer_was_lost_is_a_claim(store, memory, make_job):
    job = await store.create(make_job())
    memory.lose_answers = 1
    claim = await store.claim(job.id, "r")
    assert (claim.outcome, claim.job.attempt, claim.taken_over) == (ClaimOutcome.CLAIMED, 1, False)


async def test_a_take_over_whose_answer_was_lost_still_knows_what_it_took_over(store, memory, make_job, clock):
    job = await store.begin_call(await store.create(make_job(runner="dead")), "dep")
    clock.advance(80)
    memory.lose_answers = 1
    claim = await store.claim(job.id, "r")
    assert (claim.outcome, claim.job.attempt, claim.died_calling) == (ClaimOutcome.CLAIMED, 2, True)


async def test_a_call_whose_beginning_was_not_answered_counts_once(store, memory, make_job):
    job = await store.create(make_job(runner="r"))
    memory.lose_answers = 1
    job = await store.begin_call(job, "dep")
    assert (job.calls, job.attempts) == (1, 1)
    assert await store.get(job.id) == job


async def test_a_call_begun_anew_after_a_failure_keeps_its_number(store, make_job):
    job = await store.create(make_job(runner="r"))
    await store.begin_call(job, "dep")
    await store.add_token(job.id, "hash")
    again = await store.begin_call(job, "dep")
    assert (again.calls, again.attempts, again.token_hashes) == (1, 1, ("hash",))


async def test_a_job_given_back_without_an_answer_is_given_back(store, memory, make_job, clock):
    job = await store.create(make_job(runner="r"))
    memory.lose_answers = 1
    given = await store.give_back(job, wake_at=clock() + timedelta(seconds=9))
    assert await store.get(job.id) == given
    assert given.status is Status.QUEUED


@pytest.mark.parametrize("lost", [1, 2])
async def test_an_end_whose_answer_was_lost_ends_the_job_once(store, memory, make_job, clock, lost):
    job = await store.create(make_job(runner="r"))
    memory.lose_answers = lost
    ended, (entry,) = await store.finish(job, Status.SUCCEEDED)
    assert ended == await store.get(job.id)
    assert await Outbox(memory, clock=clock).due() == [entry]


async def test_an_end_that_is_written_again_after_no_answer_tells_of_no_batch_that_goes_on(
    store, memory, make_job, clock, monkeypatch
):
    async def away(job_id):
        raise DarkroomError("storage_unavailable", "away")

    batch = await BatchStore(memory, clock=clock).create(Batch(new_id(clock()), "key", clock(), total=2))
    job = await store.create(make_job(runner="r", batch=batch.id))
    memory.lose_answers, due = 1, clock()
    with monkeypatch.context() as patch:
        patch.setattr(store, "_require", away)
        with pytest.raises(DarkroomError):
            await store.finish(job, Status.SUCCEEDED, due=due)
    clock.advance(1)
    _, entries = await store.finish(job, Status.SUCCEEDED, due=due)

    assert [entry.what for entry in entries] == [What.EVENT]
    assert await Outbox(memory, clock=clock).due() == list(entries)
    assert (await store.batch(batch.id)).ended == 1


async def test_an_update_whose_answer_was_lost_meets_its_own_row(store, memory, make_job):
    job = await store.begin_call(await store.create(make_job(runner="r")), "dep")
    memory.lose_answers = 1
    job = await store.update(job, phase=Phase.STORING)
    assert (await store.get(job.id)).phase is Phase.STORING


async def test_an_entry_postponed_without_an_answer_is_postponed_once(memory, clock):
    outbox = Outbox(memory, clock=clock)
    entry = OutboxEntry("0" * 26, clock())
    await memory.create_entity(entry.row())
    memory.lose_answers = 1
    later = await outbox.postpone(entry, clock() + timedelta(seconds=30))
    clock.advance(30)
    assert await outbox.due() == [later]


async def test_deliveries_whose_transaction_was_not_answered_are_there_once(memory, clock):
    outbox = Outbox(memory, clock=clock)
    event = OutboxEntry("0" * 26, clock())
    await memory.create_entity(event.row())
    memory.lose_answers = 1
    made = await outbox.hand_out(event, ["a", "b"], clock())
    assert [entry.subscription for entry in made] == ["a", "b"]
    assert await outbox.due_deliveries() == list(made)


async def test_a_slot_whose_answer_was_lost_is_the_writers(memory, clock):
    pacer = Pacer(memory, clock=clock)
    first = await pacer.reserve([DEPLOYMENT])
    memory.lose_answers = 1
    slot = await pacer.reserve([DEPLOYMENT])
    assert slot.at == first.at + first.interval
    assert (await pacer.reserve([DEPLOYMENT])).at == slot.at + slot.interval


async def test_a_ledger_row_whose_answer_was_lost_is_written_once(store, memory, make_job, clock):
    job = await store.begin_call(await store.create(make_job(runner="r")), "dep")
    ledger = Ledger(memory, clock=clock)
    memory.lose_answers = 1
    await ledger.start(job, model="gpt-image-1", facts={})
    memory.lose_answers = 1
    assert await ledger.settle(job, Outcome.BILLED) is Outcome.BILLED


async def test_a_row_settled_unread_whose_answer_was_lost_is_settled_once(store, memory, make_job, clock):
    job = await store.begin_call(await store.create(make_job(runner="r")), "dep")
    ledger = Ledger(memory, clock=clock)
    started = await ledger.start(job, model="gpt-image-1", facts={})
    memory.lose_answers = 1
    assert await ledger.settle(job, Outcome.BILLED, started=started) is Outcome.BILLED
    assert (await ledger.find(job)) == (Outcome.BILLED, None)


async def test_a_key_whose_answer_was_lost_is_its_writers(memory, clock):
    memory.lose_answers = 1
    assert await Idempotency(memory, clock=clock).claim("key", "k", "h", "job") == Own("job")


@pytest.mark.parametrize(
    "failure", [HttpResponseError(message="https://x/?sig=secret"), ServiceRequestError("sig=secret")]
)
async def test_storage_that_does_not_answer_is_named_without_what_was_sent(store, memory, make_job, failure):
    memory.refuse = failure
    with pytest.raises(DarkroomError) as caught:
        await store.create(make_job())
    assert caught.value.code == "storage_unavailable"
    assert "secret" not in str(caught.value)
