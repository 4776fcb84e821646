"""Functions without HTTP: a queue, its poison queue, a timer and Event Grid. Each logs what it was given."""

import asyncio
import json
import logging
import os
import signal

import azure.functions as func

app = func.FunctionApp()
log = logging.getLogger("background")


@app.queue_trigger("message", "%WORK_QUEUE%", "STORAGE")
async def work(message: func.QueueMessage) -> None:
    body = message.get_json()
    log.info("work %s taken %d", body["name"], message.dequeue_count)
    if body.get("fail"):
        raise RuntimeError("failed on purpose")
    if body.get("die") == message.dequeue_count:
        os.kill(os.getpid(), signal.SIGKILL)
    if body.get("hang") == message.dequeue_count:
        await asyncio.sleep(600)
    log.info("work %s done id=%s inserted=%s", body["name"], message.id, message.insertion_time)


@app.queue_trigger("message", "%WORK_QUEUE%-poison", "STORAGE")
def poisoned(message: func.QueueMessage) -> None:
    log.info("poisoned %s", message.get_json()["name"])


@app.timer_trigger("timer", "0 0 0 1 1 *", run_on_startup=True)
def yearly(timer: func.TimerRequest) -> None:
    log.info("yearly past_due=%s next=%s", timer.past_due, timer.schedule_status["Next"])


@app.event_grid_trigger("event")
def arrived(event: func.CloudEvent) -> None:
    if event.type == "Bad":
        raise RuntimeError("failed on purpose")
    log.info("arrived %s", json.dumps([event.id, event.type, event.get_json()]))
