"""Health: whether the app answers, and what each thing it depends on says. And the description of all its routes."""

import azure.functions as func
from azurefunctions.extensions.http.fastapi import JSONResponse, PlainTextResponse, Request, Response

from functions import web
from shared.pipeline import health

blueprint = func.Blueprint()


@blueprint.route(route="api/health", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@web.door
async def get_health(req: Request) -> Response:
    return PlainTextResponse("ok")


@blueprint.route(route="api/openapi.json", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@web.door
async def get_openapi(req: Request) -> Response:
    from shared.api import document  # made when it is first asked for, which is seldom

    headers = {"cache-control": "public, max-age=300"}
    return Response(document.served(), media_type="application/json", headers=headers)


@blueprint.route(route="api/health/details", methods=["GET"])
@web.door
async def get_health_details(req: Request) -> Response:
    web.query(req)
    web.caller(req)
    return JSONResponse(await health.details())
