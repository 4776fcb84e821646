"""The subscription door: the webhook trigger of flows."""

import azure.functions as func
from azurefunctions.extensions.http.fastapi import JSONResponse, Request, Response

from functions import web
from shared.pipeline import subscriptions

blueprint = func.Blueprint()


@blueprint.route(route="api/subscriptions", methods=["POST"])
@web.door
async def subscribe(req: Request) -> Response:
    """201 with a `Location` that takes the DELETE, which the webhook triggers of connectors ask for
    (https://learn.microsoft.com/connectors/custom-connectors/create-webhook-trigger)."""
    web.query(req)
    caller = web.caller(req)
    made = await subscriptions.subscribe(await web.json_body(req), caller)
    headers = {"location": made["links"]["self"], "cache-control": "no-store"}
    return JSONResponse(made, status_code=201, headers=headers)


@blueprint.route(route="api/subscriptions", methods=["GET"])
@web.door
async def list_subscriptions(req: Request) -> Response:
    web.query(req)
    return JSONResponse(await subscriptions.listed(web.caller(req)))


@blueprint.route(route="api/subscriptions/{id}", methods=["GET"])
@web.door
async def get_subscription(req: Request) -> Response:
    web.query(req)
    return JSONResponse(await subscriptions.find(req.path_params["id"], web.caller(req)))


@blueprint.route(route="api/subscriptions/{id}", methods=["DELETE"])
@web.door
async def unsubscribe(req: Request) -> Response:
    web.query(req)
    await subscriptions.unsubscribe(req.path_params["id"], web.caller(req))
    return Response(status_code=204)
