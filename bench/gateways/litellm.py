"""LiteLLM's proxy in an environment of its own, one worker, without a database, kept from the network."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

REQUIREMENT: Final = "litellm[proxy]==1.106.2"
ENVIRONMENT: Final = ".venv-litellm"


def configuration(model: str, deployments: Iterable[str]) -> str:
    """Its config.yaml (JSON is YAML): each deployment of the model service under its own name."""
    models = [
        {
            "model_name": name,
            "litellm_params": {
                "model": f"azure/{name}",
                "api_base": model,
                "api_key": "none",
                "api_version": "2025-04-01-preview",
            },
            "model_info": {"mode": "image_generation", "base_model": "azure/gpt-image-1"},
        }
        for name in deployments
    ]
    return json.dumps({"model_list": models, "litellm_settings": {"telemetry": False, "num_retries": 0}})


def command(python: Path, configuration_file: Path, port: int) -> list[str]:
    program = python.with_name("litellm")
    options = ["--config", str(configuration_file), "--host", "127.0.0.1", "--port", str(port)]
    return [str(python), str(program), *options, "--telemetry", "False", "--num_workers", "1"]


def environment(given: Mapping[str, str]) -> dict[str, str]:
    quiet = {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it asks the network for prices
        "LITELLM_TELEMETRY": "False",
        "DISABLE_ADMIN_UI": "True",
        "NO_DOCS": "True",
        "LITELLM_LOG": "ERROR",
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",  # no key: one thing less that it checks
    }
    return {**given, **quiet}


def free_port() -> int:
    """It takes a number only, and 0 is none to it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
