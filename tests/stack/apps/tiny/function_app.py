"""The smallest app a stack can serve: one door that tells what environment it was given."""

import os

import azure.functions as func
from azurefunctions.extensions.http.fastapi import JSONResponse, Request

app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)


@app.route("environment", methods=["GET"])
async def environment(req: Request) -> JSONResponse:
    return JSONResponse({name: value for name, value in os.environ.items() if name.isupper() or "__" in name})
