"""The Functions host of the local stack: stands where Azure's own host stands, in front of Microsoft's worker library.

Two kinds of process. The host (`python -m local.host`) owns the port, the keys, the queue listeners, the timers
and what stands for Event Grid on the storage account.
Each worker (`worker.py`) holds one copy of the app, indexed and invoked by `azure-functions-runtime`, so a function
that blocks or dies takes neither the listeners' leases nor the other requests with it.
"""
