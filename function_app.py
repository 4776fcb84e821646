"""Darkroom: registers the doors; nothing else."""

import azure.functions as func

from functions import batches, events, images, jobs, money, requests, site, subscriptions, timers, uploads
from functions.web import GUARDED_BY_KEYS
from shared.platform import telemetry

telemetry.quiet_libraries()

app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION if GUARDED_BY_KEYS else func.AuthLevel.ANONYMOUS)
for door in (images, jobs, events, batches, money, subscriptions, requests, uploads, timers, site):
    app.register_functions(door.blueprint)
