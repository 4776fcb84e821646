"""`python -m infra.generate`: write every generated file anew."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from infra.generate import connector, icon
from infra.generate.page import page
from shared.api import document

ROOT = Path(__file__).parents[2]


def files() -> dict[str, bytes]:
    """What the files should hold, by their path in the project."""
    return {
        "infra/connector/apiDefinition.swagger.json": _json(connector.definition()),
        "infra/connector/apiProperties.json": _json(connector.properties()),
        "infra/connector/icon.png": icon.png(connector.COLOR),
        "docs/openapi.html": page(document.build()).encode(),
    }


def _json(value: Any) -> bytes:
    # Four spaces: the connectors' coding standards.
    return json.dumps(value, indent=4, ensure_ascii=False).encode() + b"\n"


def main() -> None:
    for name, content in files().items():
        path = ROOT / name
        if not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)
            sys.stdout.write(f"wrote {name}\n")


if __name__ == "__main__":
    main()
