"""Puts the server together: the image routes of both surfaces, the control routes, and 404 in the gateway's words."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Collection, Mapping
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.model.behaviour import Knobs
from local.model.control import control_routes
from local.model.deployments import Model, parse_deployments
from local.model.errors import gateway_error
from local.model.server import Server, make_server
from local.model.service import ImageOperation


def create_app(
    state_dir: Path,
    *,
    deployments: Mapping[str, Model] | None = None,
    knobs: Knobs | None = None,
    keys: Collection[str] = (),
) -> Starlette:
    """The whole server as an ASGI application. `app.state.server` is its Server, for tests in the same process."""
    server = make_server(state_dir, deployments or parse_deployments([]), knobs or Knobs(), keys)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        server.studio.close()

    app = Starlette(
        routes=[*_image_routes(server), *control_routes(server)],
        exception_handlers={HTTPException: _not_found},
        lifespan=lifespan,
    )
    app.state.server = server
    return app


def _image_routes(server: Server) -> list[Route]:
    routes = []
    for operation in ("generations", "edits"):
        dated = f"/openai/deployments/{{deployment}}/images/{operation}"
        routes.append(Route(dated, ImageOperation(server, operation, "dated"), methods=["POST"]))
        routes.append(
            Route(f"/openai/v1/images/{operation}", ImageOperation(server, operation, "v1"), methods=["POST"])
        )
    return routes


async def _not_found(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    refusal = gateway_error(status, str(status), "Resource not found" if status == 404 else "Method not allowed")
    return JSONResponse(refusal.body, status)
