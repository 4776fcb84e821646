"""The naive function: an HTTP trigger that asks the model with the openai SDK and returns what it says as JSON.

It keeps nothing, books nothing and waits its turn nowhere. `ping` does nothing at all: what a request costs the
runtime library alone can be told from it.
"""

import functools

import azure.functions as func
import openai
from azurefunctions.extensions.http.fastapi import JSONResponse, Request, Response

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)


@functools.cache
def client() -> openai.AsyncAzureOpenAI:
    return openai.AsyncAzureOpenAI(api_key="none", api_version="2025-04-01-preview")


@app.route("openai/deployments/{deployment}/images/generations", methods=["POST"])
async def generations(req: Request) -> Response:
    asked = await req.json()
    images = await client().images.generate(
        model=req.path_params["deployment"], prompt=asked["prompt"], n=asked["n"], quality=asked["quality"]
    )
    return JSONResponse(images.model_dump())


@app.route("ping", methods=["GET"])
async def ping(req: Request) -> Response:
    return Response(req.method)
