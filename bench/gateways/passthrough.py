"""The least a gateway can be: what comes from the model goes on as it comes.

`python -m bench.gateways.passthrough MODEL [--new-connections]` prints its port.
"""

from __future__ import annotations

import asyncio
import socket
import sys

import aiohttp
from aiohttp import web


async def serve(model: str, *, new_connections: bool) -> None:
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=new_connections), auto_decompress=False
    )

    async def relay(request: web.Request) -> web.StreamResponse:
        headers = {"content-type": "application/json", "accept-encoding": "identity"}
        async with session.post(model + request.path_qs, data=await request.read(), headers=headers) as answer:
            response = web.StreamResponse(status=answer.status, headers={"content-type": answer.content_type})
            response.content_length = answer.content_length
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
            return response

    app = web.Application()
    app.router.add_post("/{path:.*}", relay)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    await web.SockSite(runner, listener).start()
    print(listener.getsockname()[1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], new_connections="--new-connections" in sys.argv))
