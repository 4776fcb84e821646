"""What is asked for: the one `ImageRequest` every door makes of what came in.

Steps of `parse`, which every door calls:
1. unknown fields are refused by name;
2. the deployment is found and with it the model's row of rules (`capabilities`);
3. sources and boxes are read (`sources`, `boxes`), a size the model does not have and the old model's words put into
   what it has (`fitting`, `adapt`);
4. each field is read with its exact type (`fields`), then the whole is checked against the row.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from shared.errors import DarkroomError
from shared.images import fitting
from shared.images.adapt import DALL_E_3, Adapted, adapt
from shared.images.boxes import Box, parse_boxes
from shared.images.capabilities import Capabilities, capabilities, check
from shared.images.fields import (
    flag,
    integer,
    invalid,
    listed,
    missing,
    one_of,
    refuse_unknown,
    shown,
    text,
    unsupported,
    wrong_type,
)
from shared.images.metadata import check_metadata
from shared.images.sources import Source, check_url, source_of, sources_of, without_query

KINDS = ("generate", "edit")
_IMAGE_FIELDS = ("images", "image")
MAX_NAME_CHARS = 128
MAX_USER_CHARS = 512
RESPONSE_FORMATS = ("b64_json", "url")
_FIELDS = frozenset(
    (
        *("kind", "prompt", "model", "n", "size", "quality", "output_format", "output_compression", "background"),
        *("moderation", "input_fidelity", "user", "stream", "partial_images", "images", "image", "mask", "boxes"),
        *("metadata", "callback_url", "style", "response_format", "preserve"),
    )
)


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """An accepted request; every field is checked. `model` is the name of a deployment. The prompt is the one that goes
    to the model and shows in no `repr`. `adapted` says what was changed for the caller (`adapt`)."""

    kind: str
    prompt: str = field(repr=False)
    model: str
    n: int = 1
    size: str = "1024x1024"
    quality: str = "high"
    output_format: str = "png"
    output_compression: int | None = None
    background: str = "auto"
    moderation: str = "auto"
    input_fidelity: str | None = None
    user: str | None = None
    stream: bool = False
    partial_images: int = 0
    images: tuple[Source, ...] = ()
    mask: Source | None = None
    boxes: tuple[Box, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict, repr=False)
    callback_url: str | None = field(default=None, repr=False)
    response_format: str | None = None
    preserve: str | None = None
    fit: str | None = None
    """How an image of `fitted_size` is made of the model's: `contain` or `cover`; None where none is."""
    fitted_size: str | None = None
    """The size that was asked for, where the model does not have it: `size` is then what it is asked for instead."""
    adapted: Adapted = ()

    @property
    def derives(self) -> bool:
        """Whether the caller's image is one that is made of the model's, and not the model's own."""
        return self.fit is not None or self.preserve is not None

    def with_sources(self, images: Sequence[Source], mask: Source | None) -> ImageRequest:
        """The same request with other sources: those a door has stored."""
        return replace(self, images=tuple(images), mask=mask)

    def to_dict(self) -> dict[str, Any]:
        """The accepted form, for the request blob. It holds the prompt and may hold image data and signed URLs."""
        members = {one.name: getattr(self, one.name) for one in fields(self)}
        members["images"] = [source.to_dict() for source in self.images]
        members["mask"] = self.mask.to_dict() if self.mask else None
        members["boxes"] = [box.to_dict() for box in self.boxes]
        members["metadata"] = dict(self.metadata)
        members["adapted"] = [dict(change) for change in self.adapted]
        return members

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ImageRequest:
        """The request `to_dict` wrote. `data` is our own and not checked again."""
        members = dict(data)
        members["images"] = tuple(Source(**source) for source in data["images"])
        members["mask"] = Source(**data["mask"]) if data["mask"] else None
        members["boxes"] = tuple(Box(**box) for box in data.get("boxes", ()))
        members["adapted"] = tuple(data["adapted"])
        return cls(**members)

    def public_dict(self, images: Sequence[str] = (), mask: str | None = None) -> dict[str, Any]:
        """`request` of the job document: names of blobs in place of image data, `?…` for query strings.

        `images` and `mask` are the blob names (`container/name`) under which the sources were stored, in their order.
        """
        members = self.to_dict()
        del members["adapted"]  # a member of the job document itself
        members["images"] = [
            {"blob": images[position]} if position < len(images) else source.public_dict()
            for position, source in enumerate(self.images)
        ]
        if self.mask is not None:
            members["mask"] = {"blob": mask} if mask else self.mask.public_dict()
        if self.callback_url is not None:
            members["callback_url"] = without_query(self.callback_url)
        return {name: value for name, value in members.items() if value is not None and value not in ([], {})}

    def canonical_hash(self, images: Sequence[str] = (), mask: str | None = None) -> str:
        """Hex SHA-256 that two requests share exactly when they ask for the same.

        `images` and `mask` are the SHA-256 (hex) of the sources' bytes, where they are known; a source without counts
        by its data or name. Raises `ValueError` for a stored file without its hash: its name says nothing of it.
        """
        members = self.to_dict()
        del members["adapted"]
        hashes = [*images, *[None] * (len(self.images) - len(images))]
        members["images"] = [_identity(one, known) for one, known in zip(self.images, hashes, strict=True)]
        # A mask drawn from boxes says nothing beside them, and another version may draw its file in another way.
        members["mask"] = _identity(self.mask, mask) if self.mask and not self.boxes else None
        # What is not asked for is left out: a later version's new fields then change no hash.
        members = {name: value for name, value in members.items() if value is not None and value not in ([], {})}
        canonical = json.dumps(members, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def parse(
    data: Any,
    *,
    kind: str | None,
    deployments: Mapping[str, str],
    max_prompt_chars: int = 4_000,
    deployment: str | None = None,
    images: Sequence[Source] = (),
    mask: Source | None = None,
    platform: str = "azure",
    size_fit: str = fitting.REFUSE,
) -> ImageRequest:
    """The request in `data` (decoded JSON, or `form.parse_form`'s), or a `DarkroomError` that names the field.

    `kind` is the route's, None where the request says it. `deployments` maps the configured names to the names of
    their models, the default first; `deployment` is one the route fixes, and then `model` in the body is passed over,
    as Azure does. `images` and `mask` are files of a multipart body that are stored already. `size_fit` is how an image
    of a size that the model does not have is made of one it has: `contain`, `cover`, or `refuse`.
    """
    if not isinstance(data, Mapping):
        raise DarkroomError("invalid_type", "Expected the request to be a JSON object.")
    # The images API calls its optional fields nullable: null is the same as leaving the field out.
    given = {name: value for name, value in data.items() if value is not None}
    refuse_unknown(given, _FIELDS)
    model, renamed = _deployment(given, deployment, deployments)
    row = capabilities(deployments[model], platform)
    sources = (*images, *_sources(given, row.max_images, len(images)))
    if mask is not None and "mask" in given:
        raise invalid("mask", "Invalid 'mask': given both as a file and as text; send one.")
    mask_source = source_of("mask", given["mask"]) if "mask" in given else mask
    decided = _kind(given, kind, sources, mask_source)
    boxes = parse_boxes(given["boxes"]) if "boxes" in given else ()
    if boxes and mask_source is not None:
        raise invalid("boxes", "Invalid 'boxes': 'mask' and 'boxes' both say where the edit goes; send one of them.")
    fitted = fitting.fit(given, row, size_fit)
    values, adapted = adapt(fitted.values, row)
    request = ImageRequest(
        kind=decided,
        prompt=_prompt(values, max_prompt_chars),
        model=model,
        images=sources,
        mask=mask_source,
        boxes=boxes,
        adapted=renamed + fitted.adapted + adapted,
        **_options(values, row),
        **fitted.options,
    )
    check(request, deployments[model], platform)
    fitting.check(request)
    return request


def _deployment(given: Mapping[str, Any], fixed: str | None, deployments: Mapping[str, str]) -> tuple[str, Adapted]:
    if not deployments:
        raise DarkroomError("misconfigured", "No deployment is configured: set AZURE_OPENAI_ENDPOINT or DEPLOYMENTS.")
    named = text("model", given["model"], most=MAX_NAME_CHARS) if "model" in given else None
    name = fixed or named or next(iter(deployments))
    if name in deployments:
        return name, ()
    if fixed is None and name == DALL_E_3:
        default = next(iter(deployments))
        return default, ({"field": "model", "from": DALL_E_3, "to": default},)
    raise DarkroomError(
        "deployment_not_found",
        f"The deployment '{shown(name)}' does not exist. Configured deployments are: {listed(deployments)}.",
        param="model",
    )


def _sources(given: Mapping[str, Any], most: int, before: int) -> tuple[Source, ...]:
    present = [name for name in _IMAGE_FIELDS if name in given]
    if len(present) > 1:
        raise invalid("image", "Invalid 'image': 'image' and 'images' are two names of one field; send one.")
    return sources_of(present[0], given[present[0]], most, before=before) if present else ()


def _kind(given: Mapping[str, Any], fixed: str | None, images: Sequence[Source], mask: Source | None) -> str:
    said = given.get("kind")
    if said is not None:
        if not isinstance(said, str):
            raise wrong_type("kind", "a string", said)
        one_of("kind", said, KINDS if fixed is None else (fixed,))
    # A mask or an empty list of images says edit too, and is then told that the image is missing.
    edits = bool(images) or mask is not None or any(name in given for name in (*_IMAGE_FIELDS, "boxes"))
    kind = fixed or said or ("edit" if edits else "generate")
    if kind == "generate":
        for name in (*_IMAGE_FIELDS, "mask", "boxes", "input_fidelity", "preserve"):
            if name in given or (name == "image" and images) or (name == "mask" and mask):
                raise unsupported(name, f"'{name}' belongs to an edit, and this request is to generate an image.")
    elif not images:
        raise missing("image", "An edit needs at least one.")
    return kind


def _prompt(values: Mapping[str, Any], most: int) -> str:
    if "prompt" not in values:
        raise missing("prompt")
    # Includes the sentence that `style` has become: the limit is the deployment's, on what it is sent.
    return text("prompt", values["prompt"], most=most)


def _options(values: Mapping[str, Any], row: Capabilities) -> dict[str, Any]:
    """The scalar fields by exact type, with defaults; their ranges and conflicts are `capabilities.check`'s."""
    options: dict[str, Any] = {"size": row.default_size, "quality": row.default_quality}
    for name in ("size", "quality", "output_format", "background", "moderation", "input_fidelity", "response_format"):
        if name in values:
            if not isinstance(values[name], str):
                raise wrong_type(name, "a string", values[name])
            options[name] = values[name]
    if "response_format" in options:
        one_of("response_format", options["response_format"], RESPONSE_FORMATS)
    for name in ("n", "output_compression", "partial_images"):
        if name in values:
            options[name] = integer(name, values[name])
    if "stream" in values:
        options["stream"] = flag("stream", values["stream"])
    if "user" in values:
        options["user"] = text("user", values["user"], most=MAX_USER_CHARS)
    if "callback_url" in values:
        options["callback_url"] = check_url("callback_url", values["callback_url"])
    if "metadata" in values:
        options["metadata"] = check_metadata(values["metadata"])
    return options


def _identity(source: Source, known: str | None) -> str:
    if known is not None:
        return f"sha256:{known}"
    if source.stored is not None:
        raise ValueError("a stored source is told apart by the hash of its bytes, which was not given")
    return f"{source.kind}:{hashlib.sha256(source.value.encode()).hexdigest()}"
