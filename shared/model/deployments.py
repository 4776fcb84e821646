"""Which deployments may serve a request, and where each is called."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from shared.errors import DarkroomError
from shared.settings import Deployment

_V1_VERSIONS = ("v1", "preview")


def models(deployments: Sequence[Deployment]) -> dict[str, str]:
    """Deployment name -> model name, the default deployment first."""
    return {deployment.name: deployment.model for deployment in deployments}


def candidates(deployments: Sequence[Deployment], name: str | None) -> tuple[Deployment, ...]:
    """The deployments that may serve a request for `name` (None: the default), best first.

    A caller has to name one deployment (the images API knows no other way), so naming one cannot mean refusing
    failover: every deployment of the same model may serve, by priority, the named one first among equals.
    Raises `deployment_not_found`; `misconfigured` when no deployment is configured at all.
    """
    if not deployments:
        raise DarkroomError("misconfigured", "No model deployment is configured; see /api/health/details.")
    named = deployments[0] if name is None else next((entry for entry in deployments if entry.name == name), None)
    if named is None:
        known = ", ".join(entry.name for entry in deployments)
        raise DarkroomError(
            "deployment_not_found", f"The deployment '{name}' does not exist. Configured are: {known}.", param="model"
        )
    same = [entry for entry in deployments if entry.model == named.model]
    return tuple(sorted(same, key=lambda entry: (entry.priority, entry is not named)))


def uses_v1(deployment: Deployment) -> bool:
    """Whether the deployment is called on the v1 surface, which takes the deployment's name in the body."""
    return deployment.api_version in _V1_VERSIONS


def url(deployment: Deployment, kind: str) -> str:
    """The absolute URL of the operation `kind` (`generate` or `edit`)."""
    operation = "generations" if kind == "generate" else "edits"
    if uses_v1(deployment):
        query = "?api-version=preview" if deployment.api_version == "preview" else ""
        return f"{deployment.endpoint}/openai/v1/images/{operation}{query}"
    return (
        f"{deployment.endpoint}/openai/deployments/{quote(deployment.deployment, safe='')}/images/{operation}"
        f"?api-version={quote(deployment.api_version, safe='')}"
    )
