"""JSON Lines at the doors (https://jsonlines.org): one JSON value to a line, read while the body arrives."""

import json
from typing import Any

from azurefunctions.extensions.http.fastapi import Request

from functions import web
from functions.arriving import Held
from shared.errors import DarkroomError
from shared.platform.lines import split

MEDIA_TYPES = ("application/jsonl", "application/x-ndjson", "application/ndjson", "application/json-lines")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


async def read_lines(req: Request, most: int) -> tuple[list[Any], list[int]]:
    """The values of the body, at most `most`, and the number of the line of each, from 1. Empty lines are passed over.

    Raises `invalid_json` naming the line, `invalid_value` for too many, and what `web.json_body` raises else.
    """
    values: list[Any] = []
    numbers: list[int] = []
    number = 0
    with Held() as held:
        async for line in split(held.counted(web.body_chunks(req))):
            number += 1
            if number == 1:
                line = line.removeprefix(_BYTE_ORDER_MARK)
            if line.strip():
                values.append(await _value(line, number))
                numbers.append(number)
            if len(values) > most or number > 2 * most:
                raise DarkroomError("invalid_value", f"The body has more lines than the {most} that are taken at once.")
    return values, numbers


async def _value(line: bytes, number: int) -> Any:
    try:
        return await web.parse_json(line)
    except DarkroomError as error:
        cause = error.__cause__
        column = f", column {cause.colno}" if isinstance(cause, json.JSONDecodeError) else ""
        raise DarkroomError(
            "invalid_json", f"Line {number} is no valid JSON{column}; send one request as JSON to a line."
        ) from error
