"""Certificates as settings give them: PEM text, or the path of a file of it; never an address to fetch."""

from __future__ import annotations

from pathlib import Path


def read(setting: str) -> str:
    """The text; its line ends may be written as \\n, since settings are of one line. Raises OSError or ValueError for
    what is neither text nor a readable file."""
    text = setting if "-----BEGIN" in setting else Path(setting).read_text(encoding="utf-8")
    return text.replace("\\n", "\n")
