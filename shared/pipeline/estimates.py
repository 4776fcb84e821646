"""What requests would cost, before they are sent: nothing is stored, fetched or called.

1. The body is that of `POST /api/jobs`, or that of `POST /api/batches`, and is checked as these doors check it.
2. Sources in `data` are measured, since they are here; the size of a `blob` or `url` stays unknown.
3. Tokens by the published tables (`shared.images.estimates`), money by the prices that hold (`prices`).
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.errors import DarkroomError
from shared.images import estimates, fitting, pixels
from shared.images.capabilities import capabilities
from shared.images.estimates import CostRange, Size, Tokens
from shared.images.prices import Prices
from shared.images.request import ImageRequest
from shared.images.sources import Source, decode_source_data
from shared.jobs.batches import MOST_REQUESTS
from shared.model import deployments
from shared.pipeline import accept, batches, prices
from shared.settings import settings


async def estimate(data: Any) -> dict[str, Any]:
    """The estimate for the request in `data`; for several (an array, or an object with `requests`) one for each, and
    their sum. Raises `DarkroomError` for what the doors would refuse at once."""
    if isinstance(data, list) or (isinstance(data, Mapping) and "requests" in data):
        requests = batches.read(data).requests
        if not 1 <= len(requests) <= MOST_REQUESTS:
            raise DarkroomError(
                "invalid_value", f"Send 1 to {MOST_REQUESTS} requests, not {len(requests)}.", param="requests"
            )
        return await asyncio.to_thread(_several, requests)
    return await asyncio.to_thread(lambda: _estimate(data).document())


@dataclass(frozen=True, slots=True)
class _Estimate:
    request: ImageRequest
    model: str
    sizes: Sequence[Size | None]
    table: Prices

    @property
    def tokens(self) -> Tokens:
        return estimates.tokens_of(self.request, self.model, self.sizes)

    @property
    def cost(self) -> CostRange:
        return estimates.cost_of(self.tokens, self.model, self.table)

    def document(self) -> dict[str, Any]:
        tokens, request = self.tokens, self.request
        return {
            "model": self.model,
            "deployment": request.model,
            "request": {
                "kind": request.kind,
                "n": request.n,
                "size": request.size,
                "quality": request.quality,
                "images": len(request.images),
            },
            "adapted": [dict(change) for change in request.adapted],
            "tokens": {
                "input_text": tokens.text.to_dict(),
                "input_images": tokens.images.to_dict(),
                "output": tokens.output.to_dict(),
            },
            "cost": self.cost.to_dict(),
            "basis": {"prices": self._prices(), "assumptions": [*self._assumptions()]},
        }

    def _prices(self) -> dict[str, Any]:
        rates = self.table.rates(self.model)
        return {
            "source": self.table.source,
            "currency": self.table.currency,
            "per_million_tokens": rates.to_dict() if rates else None,
        }

    def _assumptions(self) -> Iterator[str]:
        yield from estimates.assumptions(self.request, self.model, self.sizes)
        if self.table.rates(self.model) is None:
            yield f"There are no prices for {self.model}: what its tokens cost is not known."


def _several(requests: Sequence[Any]) -> dict[str, Any]:
    """The sum is not known when a part of it is not; its `low` counts what is."""
    found: list[_Estimate] = []
    for index, data in enumerate(requests):
        try:
            found.append(_estimate(data))
        except DarkroomError as error:
            if error.code == "misconfigured":
                raise
            raise batches.refusal([(index, error)], ()) from error
    first, *others = [one.cost for one in found]
    return {
        "requests": [one.document() for one in found],
        "cost": sum(others, start=first).to_dict(),
        "unpriced_requests": sum(cost.amount is None for cost in (first, *others)),
    }


def _estimate(data: Any) -> _Estimate:
    request = accept.parse(data, kind=None)
    model = deployments.models(settings().deployments)[request.model]
    accepted = capabilities(model).input_content_types
    sizes = [_size(source, accepted) for source in request.images]
    if request.preserve and (first := sizes[0]):
        request = fitting.settle(request, capabilities(model), *first)
    return _Estimate(request, model, sizes, prices.current())


def _size(source: Source, accepted: Collection[str]) -> Size | None:
    """Width and height of a source that came with the request. Raises `invalid_image` or `image_too_large`."""
    if source.data is None:
        return None
    image = io.BytesIO(decode_source_data(source.data, param=source.param))
    header = pixels.inspect(image, param=source.param, content_types=accepted)
    return header.width, header.height
