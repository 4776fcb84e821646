"""What a call asks for: every parameter with its default, its checks and its conflicts.

1. Fields that the operation does not have are refused by name.
2. Each value is read (form values are text) and checked against the model's rules.
3. Conflicts between values are refused.
4. `auto` is made concrete, because the answer echoes concrete values.

Sources: Azure OpenAI inference specification 2025-04-01-preview, the v1 reference, OpenAI's OpenAPI description; where
they differ Azure's prose is followed, and a knob of `behaviour.py` gives the other reading.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from local.model.behaviour import Knobs
from local.model.body import Body
from local.model.deployments import FIXED_SIZES, Model, free_size_problem
from local.model.errors import (
    ServiceError,
    backend_error,
    invalid_type,
    invalid_value,
    missing_parameter,
    out_of_range,
    unknown_parameter,
    unsupported_value,
)
from local.model.sources import Source, read_sources

_COMMON = frozenset(
    {
        "background",
        "model",
        "n",
        "output_compression",
        "output_format",
        "partial_images",
        "prompt",
        "quality",
        "size",
        "stream",
        "user",
    }
)
_GENERATION_FIELDS = _COMMON | {"moderation"}
_EDIT_FIELDS = _COMMON | {"input_fidelity"}
_PORTRAIT_WORDS = re.compile(r"\b(portrait|poster|vertical|phone wallpaper|book cover)\b", re.IGNORECASE)
_LANDSCAPE_WORDS = re.compile(r"\b(panoram\w*|landscape|wide|banner|horizontal|skyline)\b", re.IGNORECASE)


@dataclass(frozen=True)
class ImageCall:
    """One checked call; every value concrete."""

    operation: str
    prompt: str
    n: int
    width: int
    height: int
    quality: str
    output_format: str
    output_compression: int
    background: str
    stream: bool
    partial_images: int
    high_fidelity: bool = False
    sources: list[Source] = field(default_factory=list)
    mask: Source | None = None

    @property
    def size(self) -> str:
        return f"{self.width}x{self.height}"


def read_image_call(operation: str, body: Body, model: Model, knobs: Knobs, *, surface: str) -> ImageCall:
    """The call a body describes. Blocking: it looks into image files. Raises ServiceError at the first fault."""
    allowed = _GENERATION_FIELDS
    if operation == "edits":
        allowed = _EDIT_FIELDS | ({"moderation"} if knobs.moderation_in_edits else frozenset())
        if not body.files and "image" not in body.values and "image[]" not in body.values:
            raise missing_parameter("image")
    reader = _Reader(body.values, body.is_form)
    files_allowed = {"image", "image[]", "mask"} if operation == "edits" else set()
    for name in body.values:
        if name in files_allowed:
            raise invalid_type(name.removesuffix("[]"), "one of an array of files or file", "a string")
        if name not in allowed:
            raise unknown_parameter(name)
    for part in body.files:
        if part.field not in files_allowed:
            raise unknown_parameter(part.field)

    prompt = _prompt(reader, knobs)
    n = reader.integer("n", 1, 1, 10)
    quality = reader.choice("quality", model.qualities, "auto")
    formats = ("png", "jpeg", "webp") if knobs.webp_output else ("png", "jpeg")
    output_format = reader.choice("output_format", formats, "png")
    compression = reader.integer("output_compression", 100, 0, 100)
    background = reader.choice("background", ("transparent", "opaque", "auto"), "auto")
    reader.choice("moderation", ("auto", "low"), "auto")
    reader.text("user", None)
    stream = reader.boolean("stream", default=False)
    partial_images = reader.integer("partial_images", 0, 0, 3)
    fidelity = _input_fidelity(reader, model)
    _check_conflicts(model, knobs, background, output_format, compression)
    _check_stream(knobs, surface, n, stream=stream)

    sources, mask = read_sources(body.files, webp=knobs.webp_input) if operation == "edits" else ([], None)
    width, height = _size(reader, model, prompt, sources)
    return ImageCall(
        operation=operation,
        prompt=prompt,
        n=n,
        width=width,
        height=height,
        quality=model.default_quality if quality == "auto" else quality,
        output_format=output_format,
        output_compression=compression,
        background=_concrete_background(background, prompt, output_format, model),
        stream=stream,
        partial_images=partial_images,
        high_fidelity=fidelity == "high",
        sources=sources,
        mask=mask,
    )


@dataclass
class _Reader:
    """Typed access to the values of a body. Null means the default, as the specifications allow."""

    values: Mapping[str, Any]
    is_form: bool

    def text(self, name: str, default: str | None) -> str | None:
        value = self.values.get(name)
        if value is None:
            return default
        if not isinstance(value, str):
            raise invalid_type(name, "a string", _kind(value))
        return value

    def choice(self, name: str, supported: tuple[str, ...], default: str) -> str:
        value = self.text(name, default)
        if value not in supported:
            raise unsupported_value(name, value, supported)
        return value

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        value = self.values.get(name)
        if value is None:
            return default
        if self.is_form:
            if not re.fullmatch(r"-?[0-9]{1,9}", value):
                raise invalid_type(name, "an integer", "a string")
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise invalid_type(name, "an integer", _kind(value))
        if not low <= value <= high:
            raise out_of_range(name, value, low, high)
        return value

    def boolean(self, name: str, *, default: bool) -> bool:
        value = self.values.get(name)
        if value is None:
            return default
        if self.is_form:
            value = {"true": True, "false": False}.get(value.lower(), value)
        if not isinstance(value, bool):
            raise invalid_type(name, "a boolean", _kind(value))
        return value


def _kind(value: Any) -> str:
    names = {bool: "a boolean", int: "an integer", float: "a decimal number", str: "a string", list: "an array"}
    return names.get(type(value), "an object")


def _prompt(reader: _Reader, knobs: Knobs) -> str:
    prompt = reader.text("prompt", None)
    if prompt is None:
        raise missing_parameter("prompt")
    if not prompt:
        raise backend_error(
            "Invalid 'prompt': empty string. Expected a string with minimum length 1, but got an empty string instead.",
            code="empty_string",
            param="prompt",
        )
    if len(prompt) > knobs.max_prompt_chars:
        raise backend_error(
            f"Invalid 'prompt': string too long. Expected a string with maximum length {knobs.max_prompt_chars}, but "
            f"got a string with length {len(prompt)} instead.",
            code="string_above_max_length",
            param="prompt",
        )
    return prompt


def _input_fidelity(reader: _Reader, model: Model) -> str:
    if reader.values.get("input_fidelity") is not None and not model.input_fidelity:
        raise invalid_value(
            "input_fidelity", f"The model '{model.name}' does not support the 'input_fidelity' parameter."
        )
    return reader.choice("input_fidelity", ("low", "high"), "low")


def _check_conflicts(model: Model, knobs: Knobs, background: str, output_format: str, compression: int) -> None:
    if background == "transparent":
        if output_format == "jpeg":
            raise invalid_value("background", "Transparent background is not supported for JPEG output format.")
        if not (model.transparent_background or knobs.transparent_everywhere):
            raise invalid_value("background", f"Transparent background is not supported for the model '{model.name}'.")
    if output_format == "png" and compression != 100:
        raise invalid_value("output_compression", "Compression less than 100 is not supported for PNG output format.")


def _check_stream(knobs: Knobs, surface: str, n: int, *, stream: bool) -> None:
    if not stream:
        return
    if surface == "dated" and not knobs.dated_streaming:
        raise unknown_parameter("stream")
    if n > 1 and not knobs.stream_several:
        raise invalid_value("n", "Streaming is only supported for n=1.")


def _size(reader: _Reader, model: Model, prompt: str, sources: list[Source]) -> tuple[int, int]:
    value = reader.text("size", "auto")
    if value == "auto":
        return _automatic_size(prompt, sources)
    if model.free_sizes:
        found = re.fullmatch(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", value or "")
        if not found:
            raise unsupported_value("size", value, ("WIDTHxHEIGHT", "auto"))
        width, height = int(found[1]), int(found[2])
        problem = free_size_problem(width, height)
        if problem:
            raise invalid_value("size", f"Invalid value: '{value}'. For this model {problem}.")
        return width, height
    if value not in FIXED_SIZES:
        raise unsupported_value("size", value, (*FIXED_SIZES, "auto"))
    width_text, _, height_text = value.partition("x")
    return int(width_text), int(height_text)


def _automatic_size(prompt: str, sources: list[Source]) -> tuple[int, int]:
    """`auto`: the shape of the first source, or what the prompt's words suggest."""
    if sources:
        ratio = sources[0].width / sources[0].height
        if ratio > 1.2:
            return 1536, 1024
        return (1024, 1536) if ratio < 1 / 1.2 else (1024, 1024)
    if _PORTRAIT_WORDS.search(prompt):
        return 1024, 1536
    return (1536, 1024) if _LANDSCAPE_WORDS.search(prompt) else (1024, 1024)


def _concrete_background(background: str, prompt: str, output_format: str, model: Model) -> str:
    if background != "auto":
        return background
    wished = "transparent background" in prompt.lower()
    return "transparent" if wished and output_format != "jpeg" and model.transparent_background else "opaque"


def check_body_model(body: Body, model: Model) -> ServiceError | None:
    """On a deployment path a `model` field is tolerated by gpt-image-1 and breaks the newer models (litellm#26316)."""
    sent = body.values.get("model")
    if sent is None or not model.refuses_body_model or sent == model.name:
        return None
    return backend_error(
        f"The model '{sent}' does not exist.", code="invalid_value", param="model", kind="image_generation_user_error"
    )
