"""What the request's contract names and this version does not do yet, refused in one place.

Each refusal goes when its part is built; until then nobody waits for what will not come.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from shared.errors import DarkroomError
from shared.images.fields import unsupported

if TYPE_CHECKING:
    from shared.images.request import ImageRequest


def refuse_unbuilt(request: ImageRequest, data: Mapping[str, Any]) -> None:
    """Raise `DarkroomError` (`unsupported_parameter`) when `request`, read from `data`, asks for such a part."""
    if request.stream or request.partial_images:
        raise unsupported("stream", "'stream' is not supported yet; leave it out to get the images in one answer.")
    if "boxes" in data:
        raise unsupported("boxes", "'boxes' is not supported yet; send a mask: a PNG with alpha 0 where to edit.")
    if request.callback_url is not None:
        raise unsupported(
            "callback_url",
            "'callback_url' needs a signing key and CALLBACK_SIGNING_KEY is not configured; leave it out and poll the "
            "job, or subscribe to its event.",
        )
    for position, source in enumerate(request.images):
        if source.url is not None:
            raise _url_refusal(f"images[{position}].url")
    if request.mask is not None and request.mask.url is not None:
        raise _url_refusal("mask.url")


def _url_refusal(param: str) -> DarkroomError:
    return unsupported(
        param, f"'{param}': images are not fetched from URLs; send the image itself as base64 in 'data', or a 'blob'."
    )
