"""What callers send: the request of design section 2 in its forms, batches, uploads.

Every limit and list here is the validators' own (`shared.images`, `shared.pipeline`). What one model takes and another
does not is described as the sum of all: which it is, the deployment decides, and a refusal says.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from shared.api.schema import Schema, integer, listed, one_of, ref, string, taken
from shared.images import adapt, boxes, fitting, metadata, sources
from shared.images import request as requests
from shared.images.capabilities import Capabilities, capabilities, known_models
from shared.images.fields import CONTROL
from shared.jobs.batches import MOST_REQUESTS
from shared.jobs.subscriptions import ENDS
from shared.pipeline import upload_links

ROWS: tuple[Capabilities, ...] = tuple(capabilities(model) for model in known_models())
"""What each known model takes on Azure."""

MAX_IMAGES = max(row.max_images for row in ROWS)
MAX_N = max(row.max_n for row in ROWS)

_NO = CONTROL.pattern[1:-1]
TEXT = rf"^[^\S{_NO}]*[^\s{_NO}][^{_NO}]*$"
"""`fields.text`: no control character but tab and newlines, and one character that is no space."""
_FREE_SIZE = r"^(auto|[1-9][0-9]{0,4}x[1-9][0-9]{0,4})$"
_BLOB = r"^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]/[^\\%?#\x00-\x1f\x7f-\x9f]+$"
_URL = r"^[hH][tT][tT][pP][sS]://[^\s@#\\\x22<>]+$"
_BINARY: Schema = {"type": "string", "format": "binary"}


def components(max_prompt_chars: int) -> dict[str, Schema]:
    """The schemas by name. `max_prompt_chars` is the app's setting."""
    return {
        "GenerateRequest": _request("generate", max_prompt_chars),
        "EditRequest": _request("edit", max_prompt_chars),
        "EditForm": _form(("edit",), max_prompt_chars),
        "JobRequest": {
            "description": "A generation or an edit; without a kind, a request with images is an edit.",
            "anyOf": [ref("GenerateRequest"), ref("EditRequest")],
        },
        "JobForm": _form(requests.KINDS, max_prompt_chars),
        "Source": _source(),
        "Box": _box(),
        "Metadata": _metadata(),
        "BatchRequest": _batch(),
        "UploadRequest": _upload(),
        "SubscriptionRequest": _subscription(),
    }


def scalars(kinds: Iterable[str], max_prompt_chars: int) -> dict[str, Schema]:
    """The fields of a request that are text, numbers or flags."""
    kinds = tuple(kinds)
    return {
        "prompt": text(max_prompt_chars, "What the image shows, or what an edit changes."),
        "kind": one_of(kinds, "What is asked for."),
        "model": text(requests.MAX_NAME_CHARS, "The name of a configured deployment; the first one by default."),
        "n": integer(1, MAX_N, "How many images.", default=1),
        "size": string(
            "Width and height in pixels, or `auto`. All models take "
            f"{', '.join(size for size in ROWS[0].sizes if size != 'auto')}; newer ones take more. DALL-E 3's "
            f"{' and '.join(adapt.SIZES)} become the nearest size the model has. With the setting `SIZE_FIT`, any of "
            f"{fitting.MIN_EDGE} to {fitting.MAX_EDGE} pixels an edge is made of the nearest.",
            pattern=_FREE_SIZE,
            default=ROWS[0].default_size,
        ),
        "quality": one_of(
            (*_any("qualities"), *adapt.QUALITIES),
            "Which of them a model has, it says itself; `hd` and `standard` are DALL-E 3's.",
            default=ROWS[0].default_quality,
        ),
        "output_format": one_of(_any("output_formats"), "The file format of the images.", default="png"),
        "output_compression": integer(0, 100, "With `jpeg` only: 100 is the least compression."),
        "background": one_of(_any("backgrounds"), "`transparent` needs `png`, and a model that can.", default="auto"),
        "moderation": one_of(
            (value for row in ROWS for kind in kinds for value in row.moderations(kind)),
            "How strictly the service moderates.",
            default="auto",
        ),
        "user": text(requests.MAX_USER_CHARS, "Passed on to the model service."),
        "style": one_of(adapt.STYLES, "DALL-E 3's; becomes a sentence of the prompt."),
        "response_format": one_of(
            requests.RESPONSE_FORMATS, "`url` gives links in place of image data in synchronous answers."
        ),
        "callback_url": _url("The finished job is POSTed there; a host that the app was told to call."),
        "stream": {
            "type": "boolean",
            "description": "The images API answers with the service's own server-sent events; the events of an "
            "asynchronous job then have its images too.",
            "default": False,
        },
        "partial_images": integer(
            0,
            max(row.max_partial_images for row in ROWS),
            "With `stream`: how many images come unfinished before.",
            default=0,
        ),
    }


def text(most: int, description: str = "") -> Schema:
    """A field that `fields.text` reads."""
    return string(description, minLength=1, maxLength=most, pattern=TEXT)


def _request(kind: str, max_prompt_chars: int) -> Schema:
    members = {**scalars((kind,), max_prompt_chars), "metadata": ref("Metadata")}
    if kind == "generate":
        return taken(members, ("prompt",), "A request for new images.")
    members |= {**_edit_fields(), **_image_fields()}
    described = taken(members, ("prompt",), "A request to change images; `mask` or `boxes` say where.")
    one = {name: {"type": ["array", "object", "string"]} for name in ("images", "image")}
    described["anyOf"] = [{"required": [name], "properties": {name: one[name]}} for name in one]
    return described


def _image_fields() -> dict[str, Schema]:
    several: Schema = {"anyOf": [listed(ref("Source"), 1, MAX_IMAGES), ref("Source")]}
    return {
        "images": {"description": f"The images to edit, 1 to {MAX_IMAGES}.", **several},
        "image": {"description": "The same as `images`, by its name in the images API; send one of them.", **several},
        "mask": {
            "description": "A PNG with alpha, of the first image's size; alpha 0 is where the edit goes.",
            **ref("Source"),
        },
    }


def _edit_fields() -> dict[str, Schema]:
    return {
        "input_fidelity": one_of(_any("input_fidelities"), "How closely the sources are kept; not every model has it."),
        "boxes": listed(ref("Box"), 1, boxes.MAX_BOXES, "Where the edit goes, in place of a mask."),
        "preserve": one_of(
            fitting.PRESERVES,
            "With a mask or boxes: an image of the first source's size is made of the model's, which outside the mask "
            "has the source's own pixels.",
        ),
    }


def _form(kinds: tuple[str, ...], max_prompt_chars: int) -> Schema:
    """A multipart body. Its files are binary, everything else is text; an empty field counts as left out."""
    members: dict[str, Any] = {**scalars(kinds, max_prompt_chars), **_edit_fields(), "metadata": ref("Metadata")}
    members["image"] = listed(_BINARY, 1, MAX_IMAGES, "The images to edit; also by the names image[] and images.")
    members["mask"] = {**_BINARY, "description": "A PNG with alpha, of the first image's size."}
    needed = ("prompt", "image") if kinds == ("edit",) else ("prompt",)
    return {"type": "object", "properties": members, "required": [*needed], "additionalProperties": False}


def _source() -> Schema:
    blob = string(
        "`container/name`, in a container that is open to the app.",
        pattern=_BLOB,
        minLength=5,
        maxLength=sources.MAX_BLOB_NAME_CHARS,
    )
    data = string("Base64 text, or a base64 data URL.", minLength=1)
    url = _url("https, on a host the app was told to fetch from.")
    kinds = {"blob": blob, "data": data, "url": url, "image_url": string("A data URL or an https URL.", minLength=1)}
    return {
        "description": "One image: an object with one of these members, or text: base64, a data URL or an https URL.",
        "anyOf": [*(taken({name: kinds[name]}, (name,)) for name in kinds), string(minLength=1)],
    }


def _box() -> Schema:
    place: Schema = {"type": "number", "minimum": 0}
    extent: Schema = {"type": "number", "exclusiveMinimum": 0}
    members = {"x": place, "y": place, "width": extent, "height": extent}
    return taken(
        members,
        tuple(members),
        "A rectangle from the first image's top left corner: in fractions of the image when all four numbers lie "
        "within 0 and 1, else in whole pixels. It may not reach out of the image.",
    )


def _metadata() -> Schema:
    return {
        "type": "object",
        "description": "The caller's own pairs, carried to the sidecar, the event and the blobs; "
        f"{metadata.MAX_ENCODED_BYTES} bytes in all as percent-encoded JSON.",
        "maxProperties": metadata.MAX_PAIRS,
        "propertyNames": {"minLength": 1, "maxLength": metadata.MAX_KEY_CHARS},
        "additionalProperties": {"type": "string", "maxLength": metadata.MAX_VALUE_CHARS},
    }


def _batch() -> Schema:
    several = listed(ref("JobRequest"), 1, MOST_REQUESTS)
    return {"anyOf": [taken({"requests": several, "metadata": ref("Metadata")}, ("requests",)), several]}


def _upload() -> Schema:
    never = r'/\\%?#*:|<>"\x00-\x1f\x7f-\x9f'
    endings = "|".join("".join(f"[{c}{c.upper()}]" for c in ending) for ending in upload_links.CONTENT_TYPES)
    name = string(
        "The plain name of an image, or `request.json`.",
        minLength=1,
        maxLength=upload_links.MAX_NAME_CHARS,
        pattern=rf"^(request\.json|[^.\s{never}][^{never}]*\.({endings}))$",
    )
    files = {**listed(name, 1, upload_links.MAX_FILES), "uniqueItems": True}
    return taken({"files": files}, ("files",))


def _subscription() -> Schema:
    statuses = listed(one_of(ENDS), 1, description="Which ends are told; all of them by default.")
    members = {
        "url": _url("Where ended jobs are POSTed to; a host that the app was told to call."),
        "statuses": statuses,
        "metadata": ref("Metadata"),
    }
    return taken(members, ("url",))


def _url(description: str) -> Schema:
    return string(description, format="uri", pattern=_URL, maxLength=sources.MAX_URL_CHARS)


def _any(member: str) -> list[str]:
    """What any of the known models takes."""
    return list(dict.fromkeys(value for row in ROWS for value in getattr(row, member)))
