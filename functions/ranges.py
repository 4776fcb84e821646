"""Parts of a stored image: what a `Range` header asks for (RFC 9110, section 14).

Blob Storage knows neither ranges counted from the end nor units other than bytes, and the size is known here, so it is
only ever asked for two positions.
"""

import re

from shared.errors import DarkroomError

_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})", re.ASCII | re.IGNORECASE)


def positions(header: str, size: int) -> tuple[int, int] | None:
    """The first and last position wanted of `size` bytes; None for all of them: a header that asks for several ranges,
    in another unit or for nothing that makes sense may be passed over, and is.

    Raises `range_not_satisfiable` when the range lies outside.
    """
    found = _RANGE.fullmatch(header.strip())
    if found is None or found[1] == found[2] == "":
        return None
    first, last = found[1], found[2]
    if not first:
        start, end = max(0, size - int(last)), size - 1
    else:
        start, end = int(first), min(int(last or size), size - 1)
        if last and int(last) < start:
            return None
    if start >= size:
        raise DarkroomError("range_not_satisfiable", f"The range lies outside the image, which has {size} bytes.")
    return start, end
