"""`docs/benchmarks/figures.json`: what each part of the bench found when it last ran whole, and where.

`__main__` writes a part's figures as soon as it has them; `page` and the plots are made of nothing else.
"""

from __future__ import annotations

import json
import os
import platform
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from bench.report import Result

FILE: Final = Path(__file__).parents[1] / "docs" / "benchmarks" / "figures.json"
_DIGITS: Final = 4

type Figures = dict[str, Any]
"""By part: `measured` (date, machine, load, whether quick), `targets` (as they were shown) and `figures`."""


def read() -> Figures:
    found: Figures = json.loads(FILE.read_text()) if FILE.exists() else {}
    return found


def record(part: str, result: Result, *, quick: bool = False) -> None:
    """Put what `part` found in the place of what it found before. The page says of a `quick` run that it was one."""
    known = read()
    known[part] = {
        "measured": {
            "on": datetime.now(UTC).date().isoformat(),
            "processor": _processor(),
            "processors": os.cpu_count(),
            "python": platform.python_version(),
            "load": round(os.getloadavg()[2], 1),
            "quick": quick,
        },
        "targets": [
            {
                "name": target.name,
                "measured": target.show(target.value),
                "most": target.show(target.most),
                "met": target.met,
                "beside": target.beside,
            }
            for target in result.targets
        ],
        "figures": _rounded(dict(result.figures)),
    }
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n")


def _processor() -> str:
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    return _short(value) if isinstance(value, float) else value


def _short(value: float) -> float:
    """To four significant digits: more is noise."""
    return float(f"{value:.{_DIGITS}g}")
