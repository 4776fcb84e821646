"""A small app in HTTP-streams mode, which the host's tests run in real worker processes."""

import asyncio
import hashlib
import logging
import os

import azure.functions as func
from azurefunctions.extensions.http.fastapi import JSONResponse, Request, Response, StreamingResponse
from starlette.responses import Response as BareResponse
from starlette.types import Receive, Scope, Send

app = func.FunctionApp()
log = logging.getLogger("streams")


class Mirror(BareResponse):
    """Sends each chunk back as it comes, so that both directions are open at once.

    (A StreamingResponse cannot: while it runs it takes the request's messages itself, to see the client leave.)
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        more = True
        while more:
            message = await receive()
            more = message.get("more_body", False)
            await send({"type": "http.response.body", "body": message.get("body", b""), "more_body": more})


@app.route("hello", methods=["GET", "HEAD"], auth_level=func.AuthLevel.ANONYMOUS)
async def hello(req: Request) -> Response:
    return Response("hello", media_type="text/plain")


@app.route("guarded")
async def guarded(req: Request) -> Response:
    return Response("let in")


@app.route("guarded/admin", auth_level=func.AuthLevel.ADMIN)
async def guarded_admin(req: Request) -> Response:
    return Response("let in")


@app.route("echo", auth_level=func.AuthLevel.ANONYMOUS)
async def echo(req: Request) -> JSONResponse:
    headers = [[name, value] for name, value in req.headers.items()]
    return JSONResponse({"method": req.method, "url": str(req.url), "headers": headers, "pid": os.getpid()})


@app.route("items/{id:int}/{*rest}", auth_level=func.AuthLevel.ANONYMOUS)
async def items(req: Request) -> JSONResponse:
    return JSONResponse(req.path_params)


@app.route("items/first", auth_level=func.AuthLevel.ANONYMOUS)
async def first_item(req: Request) -> JSONResponse:
    return JSONResponse({"literal": True})


@app.route("digest", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
async def digest(req: Request) -> JSONResponse:
    sha256, size = hashlib.sha256(), 0
    async for chunk in req.stream():
        sha256.update(chunk)
        size += len(chunk)
    return JSONResponse({"sha256": sha256.hexdigest(), "bytes": size})


@app.route("mirror", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
async def mirror(req: Request) -> Response:
    return Mirror()


@app.route("bytes/{count:int}", auth_level=func.AuthLevel.ANONYMOUS)
async def many_bytes(req: Request) -> StreamingResponse:
    async def pieces():
        left = int(req.path_params["count"])
        while left:
            piece = min(left, 65_536)
            left -= piece
            yield b"x" * piece

    return StreamingResponse(pieces(), headers={"x-kept": "yes", "connection": "x-dropped", "x-dropped": "no"})


@app.route("endless", auth_level=func.AuthLevel.ANONYMOUS)
async def endless(req: Request) -> StreamingResponse:
    async def pieces():
        try:
            while True:
                yield b"tick\n"
                await asyncio.sleep(0.01)
        finally:
            log.warning("endless has ended")

    return StreamingResponse(pieces())


@app.route("slow", auth_level=func.AuthLevel.ANONYMOUS)
async def slow(req: Request) -> Response:
    log.warning("slow has begun")
    await asyncio.sleep(float(req.query_params.get("seconds", "30")))
    return Response("done")


@app.route("broken", auth_level=func.AuthLevel.ANONYMOUS)
async def broken(req: Request) -> Response:
    raise RuntimeError("broken on purpose")


@app.route("words", auth_level=func.AuthLevel.ANONYMOUS)
async def words(req: Request) -> Response:
    print("printed by the app")  # noqa: T201
    logging.getLogger("words").info("said at info")
    logging.getLogger("words").debug("said at debug")
    return Response("ok")
