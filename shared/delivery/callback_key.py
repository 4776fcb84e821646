"""`python -m shared.delivery.callback_key HOST`: the keys that receivers at HOST check callbacks with.

`make callback-key HOST=hooks.example.com` comes in here. CALLBACK_SIGNING_KEY is read from the environment; the keys
that are printed are derived from it and may be given to the receiver, the current one first.
"""

from __future__ import annotations

import os
import sys

from shared import settings
from shared.delivery import callbacks
from shared.platform.destinations import AllowList, OutboundError


def main(arguments: list[str]) -> str:
    """What to print. Raises `SystemExit` with a sentence that says what is missing."""
    keys = settings.read(os.environ).callback_signing_keys
    host = (arguments[0] if arguments else "").strip().lower().removesuffix(".")
    if not host:
        raise SystemExit("Say whose key: make callback-key HOST=hooks.example.com, the host as in callback_url.")
    if not keys:
        raise SystemExit(
            "Set CALLBACK_SIGNING_KEY to the key of the app: whsec_ and the base64 of 24 to 64 random bytes, such as "
            "whsec_$(openssl rand -base64 32)."
        )
    try:
        found = AllowList((host,), "HOST", private=True).destination(f"https://{host}/")
    except OutboundError:
        found = None
    if found is None or found.host != host:
        raise SystemExit(
            "HOST is no host name: give it alone, in its xn-- form where it has other letters than a to z."
        )
    return "\n".join(callbacks.host_key(key, host) for key in keys)


if __name__ == "__main__":
    sys.stdout.write(f"{main(sys.argv[1:])}\n")
