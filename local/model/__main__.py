"""`python -m local.model`: the GPT-Image server on a port of this machine.

Prints `ready https://127.0.0.1:PORT` when it takes connections and ends on SIGTERM.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from local.model.app import create_app
from local.model.behaviour import EXTENDED_KEY_USAGES, Knobs
from local.model.deployments import DEFAULT_DEPLOYMENTS, parse_deployments
from local.model.run import serve


def main(arguments: list[str] | None = None) -> None:
    """Read the command line and serve."""
    options = _parser().parse_args(arguments)
    knobs = Knobs(rpm=options.rpm, window=options.window, latency_seconds=options.latency, eku=options.eku)
    app = create_app(
        options.state_dir, deployments=parse_deployments(options.deployment), knobs=knobs, keys=options.api_key
    )
    serve(app, port=options.port, certificate=options.cert, key=options.key)


def _parser() -> argparse.ArgumentParser:
    defaults = Knobs()
    parser = argparse.ArgumentParser(prog="python -m local.model", description="GPT-Image REST server on this machine.")
    parser.add_argument("--port", type=int, default=0, help="port to listen on, 0 for a free one")
    parser.add_argument("--cert", type=Path, help="certificate, PEM; without it the server speaks plain HTTP")
    parser.add_argument("--key", type=Path, help="private key of the certificate, PEM")
    parser.add_argument("--state-dir", type=Path, required=True, help="where signing certificates are kept")
    parser.add_argument(
        "--rpm", type=float, default=defaults.rpm, help="requests per minute and deployment, 0 no limit"
    )
    parser.add_argument("--window", type=float, default=defaults.window, help="seconds of the sliding window")
    parser.add_argument("--latency", type=float, default=defaults.latency_seconds, help="seconds before an answer")
    parser.add_argument(
        "--eku", choices=list(EXTENDED_KEY_USAGES), default=defaults.eku, help="key usage of the signer"
    )
    shown = ", ".join(f"{name}={model}" for name, model in DEFAULT_DEPLOYMENTS.items())
    parser.add_argument("--deployment", action="append", default=[], metavar="NAME=MODEL", help=f"default: {shown}")
    parser.add_argument("--api-key", action="append", default=[], help="a key to accept; any is accepted without this")
    return parser


if __name__ == "__main__":
    main()
