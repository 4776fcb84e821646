"""How many tokens an image takes, in and out, as far as it is published.

Only for what is asked before the call; after it, the `usage` of the answer is what counts.
"""

from __future__ import annotations

from shared.images.capabilities import family

PARTIAL_IMAGE_TOKENS = 100
"""Output tokens of each partial image (OpenAI's image generation guide)."""

_TILED_MODELS = ("gpt-image-1", "gpt-image-1-mini", "gpt-image-1.5")

# OpenAI's image generation guide, and the same table in Azure's overview. Columns: square, portrait, landscape.
_TABLE = {
    "low": {"1024x1024": 272, "1024x1536": 408, "1536x1024": 400},
    "medium": {"1024x1024": 1_056, "1024x1536": 1_584, "1536x1024": 1_568},
    "high": {"1024x1024": 4_160, "1024x1536": 6_240, "1536x1024": 6_208},
}
# gpt-image-2 has no published formula. This one reproduces the price calculator of OpenAI's guide (read out in
# community.openai.com/t/1382699; 7,024 tokens for 1024x1024 and 5,488 for 1536x1024, both high, are confirmed in
# t/1379464). gpt-image-2.5 shares the price but not the counts, which are not known.
_GRID_EDGE = {"low": 16, "medium": 48, "high": 96}
_GRID_OFFSET_PIXELS = 2_000_000
_GRID_PIXELS = 4_000_000

_FIT_EDGE = 2_048
_SHORT_EDGE = 512
_TILE = 512
_BASE_TOKENS = 65
_TILE_TOKENS = 129
_HIGH_FIDELITY_SQUARE = 4_160
_HIGH_FIDELITY_OTHER = 6_240


def output_tokens(model: str, width: int, height: int, quality: str) -> int | None:
    """Output tokens of one image of `width` x `height` pixels, None where they are not known."""
    known = family(model)
    if known in _TILED_MODELS:
        return _TABLE.get(quality, {}).get(f"{width}x{height}")
    if known == "gpt-image-2" and quality in _GRID_EDGE:
        long, short = max(width, height), min(width, height)
        cells_long = _GRID_EDGE[quality]
        cells_short = (2 * cells_long * short + long) // (2 * long)  # rounded half up
        cells = cells_long * cells_short * (_GRID_OFFSET_PIXELS + width * height)
        return -(-cells // _GRID_PIXELS)
    return None


def input_image_tokens(model: str, width: int, height: int, *, high_fidelity: bool = False) -> int | None:
    """Input tokens of one source image, None for models whose count is not published.

    Fit in 2048 x 2048, shrink the shorter edge to 512, then 65 and 129 for each tile of 512 (OpenAI's vision guide).
    The scaled edges are rounded down, as the service was seen to bill (community.openai.com/t/1281361).
    """
    if family(model) not in _TILED_MODELS:
        return None
    long, short = max(width, height), min(width, height)
    if long > _FIT_EDGE:
        long, short = _FIT_EDGE, max(1, short * _FIT_EDGE // long)
    if short > _SHORT_EDGE:
        long, short = long * _SHORT_EDGE // short, _SHORT_EDGE
    tokens = _BASE_TOKENS + _TILE_TOKENS * -(-long // _TILE) * -(-short // _TILE)
    if high_fidelity:
        tokens += _HIGH_FIDELITY_SQUARE if width == height else _HIGH_FIDELITY_OTHER
    return tokens


def text_tokens(prompt: str) -> int:
    """A guess: the tokenizer is not published. Four bytes of UTF-8 to a token, and at least one to a word.

    Measured against o200k_base, OpenAI's latest published tokenizer: 0.67 to 1.46 times the truth for short prose in
    English, German, French, Spanish, Finnish, Polish, Turkish, Russian, Greek, Arabic, Hebrew, Thai, Chinese, Japanese
    and Korean; 1.9 times for Hindi and Tamil, half of it for emoji, a third for Amharic.
    """
    words, size = text_token_bounds(prompt)
    return max(words, -(-size // 4))


def text_token_bounds(prompt: str) -> tuple[int, int]:
    """The least and the most tokens of `prompt` with any tokenizer of the kind OpenAI publishes: none of their tokens
    reaches over the end of a word, and none is shorter than a byte."""
    return max(1, len(prompt.split())), max(1, len(prompt.encode()))


def input_image_token_bounds(model: str, *, high_fidelity: bool = False) -> tuple[int, int] | None:
    """The least and the most input tokens of a source whose size is not known: one tile, and four in a row."""
    least = input_image_tokens(model, 1, 1, high_fidelity=high_fidelity)
    most = input_image_tokens(model, _FIT_EDGE, _SHORT_EDGE, high_fidelity=high_fidelity)
    return None if least is None or most is None else (least, most)
