"""The clock's door: what has to happen though nobody asks. Events the topic did not take, jobs nobody runs, what is too
old to be kept."""

import azure.functions as func

from shared.pipeline import announce, batches, leftovers, recover, retention
from shared.platform import telemetry
from shared.platform.tasks import all_of

blueprint = func.Blueprint()


@blueprint.timer_trigger(arg_name="timer", schedule="*/30 * * * * *", use_monitor=False)
@telemetry.without_words
async def send_outbox(timer: func.TimerRequest) -> None:
    await all_of(announce.send_due(), announce.deliver_due())


@blueprint.timer_trigger(arg_name="timer", schedule="15 * * * * *", use_monitor=False)
@telemetry.without_words
async def recover_jobs(timer: func.TimerRequest) -> None:
    await all_of(recover.abandoned(), batches.abandoned())


@blueprint.timer_trigger(arg_name="timer", schedule="0 5 * * * *", use_monitor=False)
@telemetry.without_words
async def remove_expired(timer: func.TimerRequest) -> None:
    await retention.remove_expired()


@blueprint.timer_trigger(arg_name="timer", schedule="0 35 * * * *", use_monitor=False)
@telemetry.without_words
async def remove_leftovers(timer: func.TimerRequest) -> None:
    await leftovers.remove()
