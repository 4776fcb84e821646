"""What each GPT-Image model takes: sizes, qualities, defaults. A deployment is a name for one of these models.

Sources: Azure OpenAI how-to page for image models, OpenAI's OpenAPI description, OpenAI's image generation guide.
"""

from __future__ import annotations

from dataclasses import dataclass

FIXED_SIZES = ("1024x1024", "1024x1536", "1536x1024")


@dataclass(frozen=True)
class Model:
    """The rules of one model family."""

    name: str
    default_quality: str = "high"
    """Azure's documentation says high; the specification says auto. `auto` means this one too."""
    qualities: tuple[str, ...] = ("low", "medium", "high", "auto")
    free_sizes: bool = False
    input_fidelity: bool = True
    transparent_background: bool = True
    refuses_body_model: bool = False
    """A `model` field beside a deployment path breaks the newer models (BerriAI/litellm#26316)."""


_NEWER_QUALITIES = ("low", "medium", "high", "xhigh", "max", "auto")

MODELS: dict[str, Model] = {
    model.name: model
    for model in (
        Model("gpt-image-1"),
        Model("gpt-image-1-mini", default_quality="medium", input_fidelity=False),
        Model("gpt-image-1.5"),
        Model(
            "gpt-image-2",
            free_sizes=True,
            input_fidelity=False,
            transparent_background=False,
            refuses_body_model=True,
        ),
        Model(
            "gpt-image-2.5",
            qualities=_NEWER_QUALITIES,
            free_sizes=True,
            input_fidelity=False,
            transparent_background=False,
            refuses_body_model=True,
        ),
    )
}

DEFAULT_DEPLOYMENTS = {"gpt-image-1": "gpt-image-1", "gpt-image-1-mini": "gpt-image-1-mini"}


def model_named(name: str) -> Model:
    """The rules for a model name; `gpt-image-2.5-flare` and its like follow `gpt-image-2.5`.

    Raises ValueError for a name outside the GPT-Image family.
    """
    if name in MODELS:
        return MODELS[name]
    if name.startswith("gpt-image-2.5"):
        return MODELS["gpt-image-2.5"]
    raise ValueError(f"{name!r} is not a GPT-Image model; known are {', '.join(MODELS)}")


def parse_deployments(pairs: list[str]) -> dict[str, Model]:
    """`["name=model", ...]` to rules by deployment name; the defaults when the list is empty."""
    if not pairs:
        return {name: model_named(model) for name, model in DEFAULT_DEPLOYMENTS.items()}
    deployments: dict[str, Model] = {}
    for pair in pairs:
        name, separator, model = pair.partition("=")
        if not (name and separator and model):
            raise ValueError(f"a deployment is written name=model, not {pair!r}")
        deployments[name] = model_named(model)
    return deployments


def free_size_problem(width: int, height: int) -> str | None:
    """Why gpt-image-2 refuses a size, or None: multiples of 16, ratio 1:3 to 3:1, at most 3840x2160 either way up."""
    if width % 16 or height % 16:
        return "both width and height must be multiples of 16"
    if max(width, height) > 3 * min(width, height):
        return "the ratio of the sides must lie between 1:3 and 3:1"
    if max(width, height) > 3840 or min(width, height) > 2160:
        return "the size must not exceed 3840x2160"
    return None
