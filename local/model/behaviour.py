"""The switches of the server: knobs that stay as they are set, and faults that are used up by the calls that follow.

Who turns them: tests and people at a desk, with `PUT /_local/behaviour` (`control.py`). Knobs stand for speed, size and
for what the public documentation leaves open; each has the documented default. Faults make one call go wrong.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, get_args, get_type_hints

from local.model.errors import NAMED

EXTENDED_KEY_USAGES = {
    "emailProtection": "1.3.6.1.5.5.7.3.4",
    "claimSigning": "1.3.6.1.4.1.62558.2.1",
    "documentSigning": "1.3.6.1.5.5.7.3.36",
    "microsoft": "1.3.6.1.4.1.311.76.59.1.9",
}
"""Key usages of the certificate that signs images: by default the one c2pa readers take without being told."""


class BehaviourError(ValueError):
    """What was PUT is not a behaviour; the message names the member."""


@dataclass(frozen=True)
class Knobs:
    """What stays until it is set again."""

    rpm: float = 9.0
    """Requests per minute of each deployment; 0 means no limit. Tier 1 gives gpt-image-1 nine."""
    window: float = 10.0
    """Seconds of the sliding window in which `rpm` is policed."""
    latency_seconds: float = 0.2
    latency_jitter: float = 0.0
    """Largest number of seconds added to or taken from the latency at random."""
    annotations: bool = True
    """`content_filter_results` and `prompt_filter_results` beside each image."""
    chunk_size: int = 65536
    """Bytes of one write of a response body."""
    bytes_per_second: float = 0.0
    """Speed of a response body; 0 means as fast as the client reads."""
    transfer: str = "content-length"
    """How a body is framed: `content-length` or `chunked`. Streams are always chunked."""
    gzip: bool = False
    """Compress for clients that accept it."""
    text_plain: bool = False
    """Label the JSON of a 200 as text/plain, as some Azure replies were seen to be (lobehub#8898)."""
    output_details: bool = False
    """`output_tokens_details` in usage: in the specification, reported not to be sent (litellm#31142)."""
    edit_text_surcharge: bool = False
    """The 32 text tokens that single-image edits were seen to cost beyond their prompt."""
    unsigned: bool = False
    """No C2PA manifest."""
    eku: str = "emailProtection"
    """Key usage of the signing certificate: a name of `EXTENDED_KEY_USAGES`."""
    moderation_in_edits: bool = False
    """Take `moderation` with a multipart edit (no published schema has it)."""
    webp_input: bool = False
    """Take webp sources: OpenAI does; Azure's pages say PNG or JPG."""
    webp_output: bool = False
    """Take `output_format: webp`: OpenAI does; Azure's pages say it is not supported."""
    transparent_everywhere: bool = False
    """Take `background: transparent` with gpt-image-2 and later."""
    dated_streaming: bool = True
    """Take `stream` on the dated path (documented samples go through v1)."""
    stream_several: bool = True
    """Take `stream` with n above 1: events of one image after those of the other. Undocumented."""
    stream_done: bool = False
    """End a stream with `data: [DONE]`; no example of an image stream shows it."""
    rate_limit_operation: str | None = None
    """The operation named in a 429; by default the specification's operation id."""
    max_prompt_chars: int = 32000
    """The specifications' limit; Azure's model table says 4000."""
    region: str = "westus3"


@dataclass(frozen=True)
class Fault:
    """What goes wrong in one call. Members combine where that makes sense."""

    match: dict[str, str] | None = None
    """Only calls whose `operation` (generations, edits), `deployment`, `surface` (dated, v1) are these."""
    times: int = 1
    """How many calls this one is for."""
    status: int | None = None
    """Answer this status with `body` and `headers`."""
    body: Any = None
    headers: dict[str, str] | None = None
    """Headers to add or replace in whatever is answered."""
    duplicate_headers: dict[str, str] | None = None
    """Headers sent a second time."""
    name: str | None = None
    """A row of `errors.NAMED`."""
    retry_after_seconds: float | None = None
    """What a named 429 tells the caller to wait."""
    hang_seconds: float | None = None
    """Say nothing for so long: before the answer, or in it when `hang_after_bytes` is given."""
    hang_after_bytes: int | None = None
    cut_before_response: bool = False
    """Take the request, work, then close the connection without a byte."""
    cut_after_bytes: int | None = None
    """Close the connection after so many bytes of the body (chunked or not as `transfer` says)."""
    reset: bool = False
    """Cut with a TCP reset instead of an orderly close."""
    truncated_json: bool = False
    """A complete transfer of a JSON text that stops in the middle."""
    broken_json: bool = False
    """A JSON text with a brace too few in its middle."""
    broken_base64: bool = False
    """A character outside the alphabet in the first image's base64."""
    null_b64: bool = False
    """`b64_json: null`."""
    missing_b64: bool = False
    """No `b64_json` at all."""
    url_instead: bool = False
    """A `url` member in place of `b64_json`."""
    fewer_images: bool = False
    """One image less than was asked for."""
    no_usage: bool = False
    text_plain: bool = False
    unsigned: bool = False
    tampered: bool = False
    """A manifest over pixels that were changed after signing (`assertion.dataHash.mismatch`)."""
    oversize_image_mb: float | None = None
    """Pad each image to so many megabytes (a comment chunk or segment before signing)."""
    image_bytes_b64: str | None = None
    """Answer exactly these bytes as every image."""
    stream_error: str | None = None
    """A row of `errors.NAMED` as an event in the middle of a stream."""

    def image_bytes(self) -> bytes | None:
        return None if self.image_bytes_b64 is None else base64.b64decode(self.image_bytes_b64, validate=True)


MATCHABLE = ("operation", "deployment", "surface")


@dataclass
class Behaviour:
    """The server's present knobs and the faults still to come."""

    defaults: Knobs = field(default_factory=Knobs)
    knobs: Knobs = field(init=False)
    faults: list[Fault] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.knobs = self.defaults

    def reset(self) -> None:
        self.knobs = self.defaults
        self.faults = []

    def put(self, document: Any) -> None:
        """Set the knobs named, and replace the faults when `faults` is there; all or nothing.

        Raises BehaviourError that names what is unknown or of the wrong type.
        """
        if not isinstance(document, dict):
            raise BehaviourError("the behaviour must be a JSON object")
        changes = dict(document)
        raw_faults = changes.pop("faults", None)
        knobs = replace(self.knobs, **_checked(Knobs, changes, "knob"))
        _check_knobs(knobs)
        if raw_faults is not None:
            if not isinstance(raw_faults, list):
                raise BehaviourError("faults must be a list")
            self.faults = [_fault(raw) for raw in raw_faults]
        self.knobs = knobs

    def as_json(self) -> dict[str, Any]:
        unset = asdict(Fault())
        shown = [{key: value for key, value in asdict(fault).items() if value != unset[key]} for fault in self.faults]
        return {**asdict(self.knobs), "faults": shown}

    def take_fault(self, **call: str) -> Fault | None:
        """The first fault meant for this call, used up by it."""
        for position, fault in enumerate(self.faults):
            if all(call.get(key) == value for key, value in (fault.match or {}).items()):
                if fault.times > 1:
                    self.faults[position] = replace(fault, times=fault.times - 1)
                else:
                    del self.faults[position]
                return fault
        return None


def _checked(kind: type[Knobs] | type[Fault], raw: dict[str, Any], noun: str) -> dict[str, Any]:
    """`raw` when every member is a field of `kind` with a value of its type."""
    known = {item.name for item in fields(kind)}
    unknown = sorted(set(raw) - known)
    if unknown:
        raise BehaviourError(f"unknown {noun}: {', '.join(unknown)}; known are {', '.join(sorted(known | {'faults'}))}")
    hints = get_type_hints(kind)
    return {name: _coerced(name, value, hints[name]) for name, value in raw.items()}


def _coerced(name: str, value: Any, hint: Any) -> Any:
    if hint is Any:
        return value
    allowed = get_args(hint) or (hint,)
    if value is None and type(None) in allowed:
        return None
    if isinstance(value, bool) and bool not in allowed:
        raise BehaviourError(f"{name} must not be true or false")
    if isinstance(value, int) and float in allowed:
        return float(value)
    if isinstance(value, dict) and any(getattr(item, "__origin__", item) is dict for item in (hint, *allowed)):
        return {str(key): str(item) for key, item in value.items()}
    plain = tuple(item for item in allowed if isinstance(item, type))
    if not (plain and isinstance(value, plain)):
        raise BehaviourError(f"{name} must be {getattr(hint, '__name__', hint)}, not {type(value).__name__}")
    return value


def _check_knobs(knobs: Knobs) -> None:
    if knobs.eku not in EXTENDED_KEY_USAGES:
        raise BehaviourError(f"eku must be one of {', '.join(EXTENDED_KEY_USAGES)}")
    if knobs.transfer not in ("content-length", "chunked"):
        raise BehaviourError("transfer must be content-length or chunked")
    if knobs.chunk_size < 1:
        raise BehaviourError("chunk_size must be at least 1")
    if knobs.window <= 0:
        raise BehaviourError("window must be above 0")
    if min(knobs.rpm, knobs.latency_seconds, knobs.latency_jitter, knobs.bytes_per_second) < 0:
        raise BehaviourError("rpm, latency_seconds, latency_jitter and bytes_per_second must not be negative")


def _fault(raw: Any) -> Fault:
    if not isinstance(raw, dict):
        raise BehaviourError("each fault must be a JSON object")
    fault = Fault(**_checked(Fault, raw, "fault member"))
    for member, name in (("name", fault.name), ("stream_error", fault.stream_error)):
        if name is not None and name not in NAMED:
            raise BehaviourError(f"{member} {name!r} is none of {', '.join(NAMED)}")
    unknown = sorted(set(fault.match or {}) - set(MATCHABLE))
    if unknown:
        raise BehaviourError(f"a fault cannot match {', '.join(unknown)}; it matches {', '.join(MATCHABLE)}")
    if fault.times < 1:
        raise BehaviourError("times must be at least 1")
    if fault.status is not None and not 200 <= fault.status <= 599:
        raise BehaviourError("status must lie between 200 and 599")
    try:
        fault.image_bytes()
    except (binascii.Error, ValueError) as error:
        raise BehaviourError("image_bytes_b64 is not base64") from error
    return fault
