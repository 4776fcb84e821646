"""The queue door: messages of `image-requests`."""

import azure.functions as func

from shared.errors import DarkroomError
from shared.jobs.job import is_id
from shared.jobs.queue import parse_message
from shared.pipeline import run
from shared.platform import telemetry

blueprint = func.Blueprint()


@blueprint.queue_trigger(arg_name="message", queue_name="image-requests", connection="STORAGE")
@telemetry.without_words
async def run_request(message: func.QueueMessage) -> None:
    """Run the job a message names. What fails for want of storage raises: the message then comes back."""
    job_id = parse_message(message.get_body()).get("job_id")
    if not isinstance(job_id, str) or not is_id(job_id):
        raise DarkroomError("invalid_value", 'A message holds {"job_id": "<id>"}.', param="job_id")
    await run.deliver(job_id)
