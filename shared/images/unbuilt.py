"""What the request's contract names and this version does not do yet, refused in one place.

Each refusal goes when its part is built; until then nobody waits for what will not come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.images.fields import unsupported

if TYPE_CHECKING:
    from shared.images.request import ImageRequest


def refuse_unbuilt(request: ImageRequest) -> None:
    """Raise `DarkroomError` (`unsupported_parameter`) when `request` asks for such a part."""
    if request.stream or request.partial_images:
        raise unsupported("stream", "'stream' is not supported yet; leave it out to get the images in one answer.")
