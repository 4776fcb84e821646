"""Money before and after: what requests would cost, and what was used."""

import azure.functions as func
from azurefunctions.extensions.http.fastapi import JSONResponse, Request, Response

from functions import web
from shared.pipeline import estimates, usage

blueprint = func.Blueprint()


@blueprint.route(route="api/estimates", methods=["POST"])
@web.door
async def estimate_cost(req: Request) -> Response:
    web.query(req)
    web.caller(req)
    return JSONResponse(await estimates.estimate(await web.json_body(req)))


@blueprint.route(route="api/usage", methods=["GET"])
@web.door
async def get_usage(req: Request) -> Response:
    asked = web.query(req, "from", "to", "group_by")
    answer = await usage.usage(
        web.caller(req), since=asked.get("from"), until=asked.get("to"), group_by=asked.get("group_by")
    )
    return JSONResponse(answer)
