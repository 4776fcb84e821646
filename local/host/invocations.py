"""An invocation of one function on one worker: the message, the log lines at both ends, and the time limit.

Every trigger (HTTP, queue, blob, timer, Event Grid, the admin door) comes in here.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
import uuid
from typing import Any

from local.host.metadata import Function
from local.host.process import WorkerLostError, WorkerProcess

log = logging.getLogger("host.function")

type Value = dict[str, Any]
"""A typed value as FunctionRpc has it: one member, `string`, `json` (JSON text), `http` or `model_binding_data`."""


class InvocationError(Exception):
    """The function raised; the message is the exception's."""


def text(value: str) -> Value:
    """A string value."""
    return {"string": value}


def jsonable(value: Any) -> Value:
    """A JSON value (numbers too must travel so: the runtime takes no `int` or `double`)."""
    return {"json": json.dumps(value)}


def model_binding_data(source: str, content: str) -> Value:
    """A reference to something, for a parameter of an SDK type: `content` is JSON that the extension `source` reads."""
    data = {"version": "1.0", "source": source, "content_type": "application/json", "content": content}
    return {"model_binding_data": data}


async def invoke(
    worker: WorkerProcess,
    function: Function,
    value: Value,
    metadata: dict[str, Value] | None = None,
    *,
    invocation_id: str | None = None,
    trace_parent: str | None = None,
    trace_state: str = "",
    time_limit: float | None = None,
) -> None:
    """Run `function` with its trigger set to `value`; return when it ended well.

    Raises InvocationError when it raised, WorkerLostError when its process died. After `time_limit` seconds the
    process is killed, as Azure does with a function that outruns `functionTimeout`.
    """
    invocation_id = invocation_id or str(uuid.uuid4())
    message = {
        "id": invocation_id,
        "function_id": function.id,
        "inputs": {function.trigger["name"]: value},
        "metadata": metadata or {},
        "trace_parent": trace_parent or f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01",
        "trace_state": trace_state,
    }
    log.info("Executing '%s' (Id=%s)", function.name, invocation_id)
    started = time.perf_counter()
    outcome, error = "Succeeded", None
    try:
        async with asyncio.timeout(time_limit):
            error = await worker.invoke(message)
    except TimeoutError:
        worker.kill()
        outcome = f"Failed after the time limit of {time_limit:.0f} s; its worker was killed"
        raise WorkerLostError(outcome) from None
    except WorkerLostError as lost:
        outcome = f"Failed: {lost}"
        raise
    except asyncio.CancelledError:
        outcome = "Abandoned"
        raise
    else:
        if error is not None:
            outcome = "Failed"
            raise InvocationError(error["message"])
    finally:
        milliseconds = (time.perf_counter() - started) * 1000
        level = logging.INFO if outcome in ("Succeeded", "Abandoned") else logging.ERROR
        log.log(
            level, "Executed '%s' (%s, Id=%s, Duration=%.0fms)", function.name, outcome, invocation_id, milliseconds
        )
        if error is not None:
            log.error("%s", error["stack_trace"].rstrip() or error["message"])
