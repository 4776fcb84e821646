"""What a caller would rather have: the `Prefer` header (RFC 7240). `wait` is known here; the rest is passed over, as
the RFC wants it."""

import re
from collections.abc import Iterable

_PREFERENCE = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*(?:"|\\?\Z))+', re.DOTALL)
_WAIT = re.compile(r'\s*wait\s*=\s*("?)([0-9]{1,9})\1\s*(?:;.*)?', re.ASCII | re.IGNORECASE | re.DOTALL)
_NAME = re.compile(r"\s*wait\s*(?:[=;].*)?", re.ASCII | re.IGNORECASE | re.DOTALL)


def wait_seconds(headers: Iterable[str]) -> int:
    """How long the caller would wait for an answer (RFC 7240, section 4.3), by its `Prefer` headers; 0 without a wish,
    or one that makes no sense. The first `wait` counts (section 2)."""
    for preference in _PREFERENCE.findall(",".join(headers)):
        if _NAME.fullmatch(preference):
            found = _WAIT.fullmatch(preference)
            return int(found[2]) if found else 0
    return 0
