"""Servers for the tests: one in this process, and one on a port for what needs a connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from local.model.app import create_app
from local.model.behaviour import Knobs
from local.model.deployments import parse_deployments
from local.model.run import listening_socket, server_for

QUICK = Knobs(rpm=0, latency_seconds=0)
DEPLOYMENTS = parse_deployments(
    [
        "gpt-image-1=gpt-image-1",
        "mini=gpt-image-1-mini",
        "one-five=gpt-image-1.5",
        "two=gpt-image-2",
        "flare=gpt-image-2.5-flare",
    ]
)


@pytest.fixture(scope="session")
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("model-state")


@pytest.fixture
def app(state_dir: Path) -> Starlette:
    return create_app(state_dir, deployments=DEPLOYMENTS, knobs=QUICK)


@pytest.fixture
async def client(app: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(
        transport=transport, base_url="https://model.test", headers={"api-key": "k"}
    ) as client:
        yield client
    app.state.server.studio.close()


@asynccontextmanager
async def on_a_port(app: Starlette) -> AsyncIterator[str]:
    """The app behind uvicorn on a free port, without TLS."""
    listener = listening_socket(0)
    server = server_for(app, certificate=None, key=None)
    serving = asyncio.create_task(server.serve([listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving


@pytest.fixture
async def port_client(app: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    async with on_a_port(app) as url, httpx.AsyncClient(base_url=url, headers={"api-key": "k"}, timeout=30) as client:
        yield client


@pytest.fixture
async def port_url(app: Starlette) -> AsyncIterator[str]:
    async with on_a_port(app) as url:
        yield url
