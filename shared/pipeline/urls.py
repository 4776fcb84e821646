"""URLs in a request: images to fetch, and where to call back. Whether the app goes there at all is decided here, by the
settings; how it goes is `shared.platform.outbound`'s business."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from shared.errors import DarkroomError
from shared.images.request import ImageRequest
from shared.images.sources import MAX_IMAGE_BYTES
from shared.platform.destinations import AllowList, OutboundError
from shared.settings import settings

SECONDS_FOR_ALL = 60.0
"""How long the images of one request may take together: somebody may be waiting for an answer."""


def image_hosts() -> AllowList:
    current = settings()
    return AllowList(current.image_url_hosts, "IMAGE_URL_HOSTS", current.allow_private_networks)


def callback_hosts() -> AllowList:
    current = settings()
    return AllowList(current.callback_hosts, "CALLBACK_HOSTS", current.allow_private_networks)


def check(request: ImageRequest) -> None:
    """Raises `source_not_readable`, `unsupported_parameter` or `invalid_value` for a URL that is not gone to."""
    for source in (*request.images, *([request.mask] if request.mask else ())):
        if source.url is not None:
            _check_source(source.url, source.param)
    if request.callback_url is not None:
        _check_callback(request.callback_url)


async def fetched(url: str, param: str, until: float) -> AsyncGenerator[bytes]:
    """The bytes of the image at `url` as they come, until the event loop's time is `until` at the latest.

    Raises `source_not_readable`, which names `param`.
    """
    from shared.platform.outbound import SECONDS, Outbound

    client = Outbound(image_hosts(), min(SECONDS, until - asyncio.get_running_loop().time()))
    try:
        async with aclosing(client.get(url, max_bytes=MAX_IMAGE_BYTES)) as pieces:
            async for piece in pieces:
                yield piece
    except OutboundError as error:
        raise _not_readable(param, error) from error


def _check_source(url: str, param: str) -> None:
    try:
        image_hosts().destination(url)
    except OutboundError as error:
        raise _not_readable(param, error) from error


def _not_readable(param: str, error: OutboundError) -> DarkroomError:
    return DarkroomError(
        "source_not_readable",
        f"'{param}' {error}; send the image itself, as base64 in 'data' or as a data URL, or name a 'blob'.",
        param=param,
    )


def _check_callback(url: str) -> None:
    if not settings().callback_signing_keys:
        raise DarkroomError(
            "unsupported_parameter",
            "'callback_url' needs a signing key and CALLBACK_SIGNING_KEY is not configured; leave it out and poll the "
            "job, or subscribe to its event.",
            param="callback_url",
        )
    try:
        callback_hosts().destination(url)
    except OutboundError as error:
        raise DarkroomError(
            "invalid_value",
            f"'callback_url' {error}; name a host that may be called, or leave it out and poll the job.",
            param="callback_url",
        ) from error
