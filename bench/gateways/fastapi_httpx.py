"""The gateway many write first: FastAPI, httpx, the answer streamed on.

`python -m bench.gateways.fastapi_httpx MODEL` prints its port.
"""

from __future__ import annotations

import socket
import sys

import httpx
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from starlette.background import BackgroundTask


def gateway(model: str) -> FastAPI:
    app = FastAPI()
    client = httpx.AsyncClient(timeout=300, limits=httpx.Limits(max_connections=None), trust_env=True)

    @app.post("/{path:path}")
    async def relay(path: str, request: Request) -> StreamingResponse:
        headers = {"content-type": "application/json"}
        asked = client.build_request("POST", f"{model}/{path}", content=await request.body(), headers=headers)
        answer = await client.send(asked, stream=True)
        kind = answer.headers.get("content-type")
        return StreamingResponse(
            answer.aiter_bytes(), answer.status_code, media_type=kind, background=BackgroundTask(answer.aclose)
        )

    return app


if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    print(listener.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(gateway(sys.argv[1]), access_log=False)).run([listener])
