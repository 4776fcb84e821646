"""A worker process: one copy of the app, indexed and run by Microsoft's `azure-functions-runtime`.

Started by the host (`workers.py`) as `python -m local.host.worker --fd N --app DIR`; nobody else comes in here.
1. Makes the app's directory the first on `sys.path` and the working directory: Azure does so, the runtime does not.
2. Says over the socket with number `--fd` which functions the app has and where its HTTP server listens.
3. Runs each invocation in a task of its own and says how it ended.
It ends when the host's end of stdin or of the socket closes, whatever the app is doing, so it is never orphaned.
Only the runtime is imported beside the standard library: what the app costs to import can be told from this.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import socket
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import azure_functions_runtime as runtime

from local.host import codec, protos

HTTP_ADDRESS = "127.0.0.1"


def main() -> None:
    """Serve the host until it goes away."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--app", type=Path, required=True)
    parser.add_argument("--log-level", default="INFO")
    arguments = parser.parse_args()
    threading.Thread(target=_end_with_the_host, daemon=True).start()
    _log_to_stderr(arguments.log_level)
    sys.path[0] = str(arguments.app)
    os.chdir(arguments.app)
    asyncio.run(_serve(arguments.fd, arguments.app))
    os._exit(0)  # a sync function may still hold a thread that an ordinary exit would wait for


def _end_with_the_host() -> None:
    """Wait for stdin to close; a thread, because the app may be blocking the event loop when the host dies."""
    while os.read(0, 1):
        pass
    os._exit(0)


def _log_to_stderr(level: str) -> None:
    """Send what the app logs to stderr; the host passes it on."""
    logging.basicConfig(
        stream=sys.stderr, level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", datefmt="%H:%M:%S"
    )
    # uvicorn gives its loggers a level when it starts, but leaves filters alone. Its access log stays: Azure shows it.
    logging.getLogger("uvicorn.error").addFilter(_is_worth_saying)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def _is_worth_saying(record: logging.LogRecord) -> bool:
    """Leave out that the server has started, and the failure of a function, which the host logs by its invocation."""
    return record.levelno >= logging.WARNING and not record.getMessage().startswith("Exception in ASGI application")


async def _serve(descriptor: int, app: Path) -> None:
    reader, writer = await asyncio.open_unix_connection(sock=socket.socket(fileno=descriptor))
    runtime.start_threadpool_executor()
    writer.write(codec.encode(await _index(app)))
    running: set[asyncio.Task[None]] = set()
    while (message := await codec.read(reader)) is not None:
        task = asyncio.create_task(_invoke(message, writer))
        running.add(task)
        task.add_done_callback(running.discard)


async def _index(app: Path) -> codec.Message:
    """Index the app; the message says what it holds, or why it could not be read."""
    notes = logging.getLogger("azure.functions")
    notes.setLevel(logging.CRITICAL)  # what it would log of a failure is in its answer too
    started = await _ask("worker_init_request", capabilities={}, function_app_directory=str(app))
    notes.setLevel(logging.WARNING)
    if error := _error(started.result):
        return {"error": error}
    listed = await _ask("functions_metadata_request")
    functions = [
        {"id": function.function_id, "name": function.name, "bindings": list(function.raw_bindings)}
        for function in listed.function_metadata_results or []
    ]
    for function in functions:
        await _ask("function_load_request", function_id=function["id"])
    return {"error": None, "http_uri": started.capabilities.get("HttpUri"), "functions": functions}


async def _invoke(message: codec.Message, writer: asyncio.StreamWriter) -> None:
    invocation_id = message["id"]
    runtime.invocation_id_cv.set(invocation_id)  # the runtime does it for sync functions only
    try:
        response = await _ask(
            "invocation_request",
            invocation_id=invocation_id,
            function_id=message["function_id"],
            input_data=[
                protos.ParameterBinding(name=name, data=_typed_data(value)) for name, value in message["inputs"].items()
            ],
            trigger_metadata={name: _typed_data(value) for name, value in message["metadata"].items()},
            trace_context=SimpleNamespace(
                trace_parent=message["trace_parent"], trace_state=message["trace_state"], attributes={}
            ),
            retry_context=SimpleNamespace(retry_count=0, max_retry_count=0, exception=None),
        )
        error = _error(response.result)
    except Exception as exception:  # noqa: BLE001  (the host must hear of every end, also of a fault in the runtime)
        error = {"message": f"{type(exception).__name__}: {exception}", "stack_trace": ""}
    writer.write(codec.encode({"id": invocation_id, "error": error}))


async def _ask(kind: str, **fields: Any) -> Any:
    """Put one request to the runtime library, in the shape of a FunctionRpc StreamingMessage."""
    request = SimpleNamespace(**{kind: SimpleNamespace(**fields)})
    properties = {"host": HTTP_ADDRESS, "protos": protos}
    return await getattr(runtime, kind)(SimpleNamespace(request=request, properties=properties))


def _typed_data(value: dict[str, Any]) -> protos.TypedData:
    """A value off the wire, `{kind: value}`, as the runtime wants it."""
    [(kind, content)] = value.items()
    if kind == "http":
        content = protos.RpcHttp(
            method="", url="", headers={}, query={}, params=content["params"], body=protos.TypedData()
        )
    elif kind == "model_binding_data":
        content = protos.ModelBindingData(**{**content, "content": content["content"].encode()})
    return protos.TypedData(**{kind: content})


def _error(result: Any) -> dict[str, str] | None:
    if result.status == protos.StatusResult.Success:
        return None
    return {"message": result.exception.message, "stack_trace": result.exception.stack_trace}


if __name__ == "__main__":
    main()
