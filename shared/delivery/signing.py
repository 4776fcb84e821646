"""Content Credentials for derived images: what an image was made of and what was done, signed by a key in a vault.

The derived images' room comes in by `sign` (and, before it pays for anything, by `configured` and `check`). The
manifest names Darkroom, the images it was made from, as ingredients with the manifests of their own, and the steps. It
holds no prompt, no thumbnail and no address; nothing is fetched.

c2pa works in threads of this room's own and asks for the signature there; the vault is asked on the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, Final

from shared.delivery import signing_identity
from shared.delivery.claim import Claim, Image, Ingredient, Signed
from shared.errors import DarkroomError
from shared.platform import clients, key_vault
from shared.settings import settings

COMPOSITE_WITH_AI: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
"""The `digitalSourceType` of an action that puts what a model made into what it did not make."""

SIGN_SECONDS: Final = 30.0
"""The longest that one signature takes once it is its turn."""

_AT_ONCE: Final = 2


def configured() -> bool:
    """Whether a signing identity is named; `check` says whether it can be used."""
    return settings().signing_certificate is not None


async def check() -> None:
    """Raise what `sign` would raise for want of a usable identity. Asks the vault once an hour."""
    await signing_identity.current()


async def sign(
    image: Image,
    content_type: str,
    *,
    parent: Image,
    parent_content_type: str,
    title: str,
    actions: Sequence[Mapping[str, Any]],
    components: Sequence[tuple[Image, str]] = (),
) -> Signed:
    """`image` with a manifest, which was read back and is valid.

    `actions` are C2PA's, in the order they were done (`{"action": "c2pa.resized"}`); the opening of the parent and
    the placing of the `components` (images that went into this one, each with its content type) are put before them.
    `title` is what anybody can read who looks at the manifest. An ingredient without a manifest is listed as one;
    so is, with a word about it, one whose manifest cannot be read.

    Raises `signing_unavailable` when the vault does not answer, which may pass; `misconfigured` when the identity
    cannot sign; `internal_error` when c2pa cannot put a manifest into `image`.
    """
    identity = await signing_identity.current()
    loop = asyncio.get_running_loop()

    def signature(data: bytes) -> bytes:
        return asyncio.run_coroutine_threadsafe(identity.sign(data), loop).result(key_vault.CALL_SECONDS + 1)

    claim = Claim(
        chain=identity.chain,
        algorithm=identity.algorithm,
        sign=signature,
        title=title,
        ingredients=(
            Ingredient(parent, parent_content_type, "model image"),
            *(Ingredient(source, kind, f"source image {number}") for number, (source, kind) in enumerate(components)),
        ),
        actions=actions,
    )
    async with clients.keep("signing turns", lambda: asyncio.Semaphore(_AT_ONCE)):
        try:
            async with asyncio.timeout(SIGN_SECONDS):
                return await loop.run_in_executor(_threads(), claim.embed, image, content_type)
        except TimeoutError:
            raise DarkroomError("signing_unavailable", f"Signing took longer than {SIGN_SECONDS:g} seconds.") from None


@cache
def _threads() -> ThreadPoolExecutor:
    """Not the loop's own threads, which everything else uses: these wait for the network."""
    return ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="signing")
