"""The worker of `unpaced_worker.py` with storage and topic in its own process (`in_process_azure.py`)."""

from __future__ import annotations

from bench import in_process_azure, unpaced_worker

if __name__ == "__main__":
    in_process_azure.install()
    unpaced_worker.main()
