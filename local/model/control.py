"""The doors beside the service's own, for whoever steers and asks: `/_local/...`, no credential."""

from __future__ import annotations

import json

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.model.behaviour import BehaviourError
from local.model.server import Server

LONGEST_WAIT_SECONDS = 30.0


def _number(request: Request, name: str) -> int:
    value = request.query_params.get(name, "")
    return int(value) if value.isascii() and value.isdigit() else 0


def control_routes(server: Server) -> list[Route]:
    """GET and DELETE of calls; GET, PUT and DELETE of the behaviour."""

    async def calls(request: Request) -> Response:
        """GET with `?taken=N` or `?finished=N` waits (at most 30 s) until N calls are kept or over."""
        if request.method == "DELETE":
            server.calls.clear()
            return Response(status_code=204)
        await server.calls.wait(
            taken=_number(request, "taken"),
            finished=_number(request, "finished"),
            timeout_seconds=LONGEST_WAIT_SECONDS,
        )
        return JSONResponse(server.calls.as_json())

    async def behaviour(request: Request) -> Response:
        """PUT merges knobs and replaces faults. DELETE resets both, and empties the rate windows."""
        if request.method == "DELETE":
            server.behaviour.reset()
            server.windows.clear()
        elif request.method == "PUT":
            try:
                server.behaviour.put(json.loads(await request.body()))
            except (BehaviourError, ValueError, RecursionError) as error:
                message = str(error) if isinstance(error, BehaviourError) else "the behaviour must be JSON"
                return JSONResponse({"error": {"code": "invalid_behaviour", "message": message}}, status_code=400)
        return JSONResponse(server.behaviour.as_json())

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok", "deployments": {k: m.name for k, m in server.deployments.items()}})

    return [
        Route("/_local/calls", calls, methods=["GET", "DELETE"]),
        Route("/_local/behaviour", behaviour, methods=["GET", "PUT", "DELETE"]),
        Route("/_local/health", health, methods=["GET"]),
    ]
