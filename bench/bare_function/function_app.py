"""The least that a function can be which stands before the model: what comes goes on as it comes, nothing is kept.

aiohttp's own client, on kept connections. What it costs is the share of the runtime library and of the server in it.
"""

import functools
import os
from collections.abc import AsyncIterator

import aiohttp
import azure.functions as func
from azurefunctions.extensions.http.fastapi import Request, Response, StreamingResponse

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)


@functools.cache
def client() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(os.environ["AZURE_OPENAI_ENDPOINT"], auto_decompress=False)


@app.route("openai/deployments/{deployment}/images/generations", methods=["POST"])
async def generations(req: Request) -> Response:
    headers = {"content-type": "application/json", "accept-encoding": "identity"}
    answer = await client().post(req.url.path, data=await req.body(), headers=headers)
    length = {"content-length": str(answer.content_length)}
    return StreamingResponse(_pieces(answer), media_type="application/json", headers=length)


async def _pieces(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    async with answer:
        async for piece in answer.content.iter_any():
            yield piece
