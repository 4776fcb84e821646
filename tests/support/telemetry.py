"""What the stack's receiver of telemetry took (`local/otlp.py`)."""

from __future__ import annotations

from typing import Any

from local.state import StackInfo
from tests.support.peers import fetch


def spans(info: StackInfo, **query: str) -> list[dict[str, Any]]:
    return list(_taken(info, "spans", query))


def logs(info: StackInfo, **query: str) -> list[dict[str, Any]]:
    return list(_taken(info, "logs", query))


def metrics(info: StackInfo, **query: str) -> list[dict[str, Any]]:
    """The newest point of every series, or of those of one `name`."""
    return list(_taken(info, "metrics", query))


def total(info: StackInfo, name: str, **attributes: str) -> float:
    """The sum over the series of a counter, or the count over those of a histogram, that have these attributes, named
    by their last part."""
    return float(
        sum(
            point["count"] if point["kind"] == "histogram" else point["value"]
            for point in metrics(info, name=name)
            if {key.rpartition(".")[2]: value for key, value in point["attributes"].items()}.items()
            >= attributes.items()
        )
    )


def everything(info: StackInfo) -> str:
    """All that was taken, as text to be searched."""
    assert info.telemetry is not None
    return "\n".join(
        fetch(info, "GET", f"{info.telemetry}/_local/{what}").text for what in ("spans", "metrics", "logs")
    )


def _taken(info: StackInfo, what: str, query: dict[str, str]) -> Any:
    assert info.telemetry is not None
    answer = fetch(info, "GET", f"{info.telemetry}/_local/{what}", params=query)
    answer.raise_for_status()
    return answer.json()[what]
