"""The clients of the official `openai` package, each pointed at the app as its documentation says to."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import openai
import pytest

from local.state import StackInfo
from tests.support.model_control import ModelControl
from tests.support.pictures import base64_text, png

type Client = openai.OpenAI | openai.AsyncOpenAI

DEPLOYMENT = "gpt-image-1"
API_VERSION = "2025-04-01-preview"
TIMEOUT = 60.0


def make_client(kind: str, stack: StackInfo, *, service: bool = False, **options: Any) -> Client:
    """A client of the class `kind`. The key goes in a header of its own; `api_key` has to be something.

    With `service` it is a client of the model server, which stands behind the app.
    """
    endpoint = stack.model if service else stack.app
    common: dict[str, Any] = {
        "api_key": "unused",
        "default_headers": {} if service else {"x-functions-key": stack.key},
        "timeout": TIMEOUT,
        **options,
    }
    match kind:
        case "AzureOpenAI":
            return openai.AzureOpenAI(azure_endpoint=endpoint, api_version=API_VERSION, **common)
        case "AsyncAzureOpenAI":
            return openai.AsyncAzureOpenAI(azure_endpoint=endpoint, api_version=API_VERSION, **common)
        case "OpenAI":
            return openai.OpenAI(base_url=f"{endpoint}/openai/v1", **common)
        case _:
            return openai.AsyncOpenAI(base_url=f"{endpoint}/openai/v1", **common)


async def settled[T](value: T | Awaitable[T]) -> T:
    """What a method of either kind of client, sync or async, gives in the end."""
    return await value if inspect.isawaitable(value) else value


@pytest.fixture(params=["AzureOpenAI", "AsyncAzureOpenAI", "OpenAI", "AsyncOpenAI"])
async def client(request: pytest.FixtureRequest, stack: StackInfo) -> AsyncIterator[Client]:
    """Each client in turn."""
    made = make_client(request.param, stack)
    yield made
    await settled(made.close())


@pytest.fixture(params=["AzureOpenAI", "AsyncOpenAI"])
async def either_client(request: pytest.FixtureRequest, stack: StackInfo) -> AsyncIterator[Client]:
    """One client of each surface, one sync and one async, where more would show nothing new."""
    made = make_client(request.param, stack)
    yield made
    await settled(made.close())


@pytest.fixture
async def v1_client(stack: StackInfo) -> AsyncIterator[openai.AsyncOpenAI]:
    """The plain client, for what has nothing to do with the client's class."""
    made = make_client("AsyncOpenAI", stack)
    assert isinstance(made, openai.AsyncOpenAI)
    yield made
    await made.close()


@pytest.fixture
def model(stack: StackInfo) -> ModelControl:
    """The model server, as if just started."""
    return ModelControl(stack.model)


@pytest.fixture
def small_images(model: ModelControl) -> None:
    """Let the model answer with small images, partial ones too, where nothing hangs on what they show: to draw and to
    sign large ones takes most of such a test's time. Faults that a test sets later take their place."""
    model.fail({"image_bytes_b64": base64_text(png()), "times": 1000})
