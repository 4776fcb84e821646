"""The queue door: messages of `image-requests`, and those that failed too often."""

import azure.functions as func

from shared.pipeline import messages, run
from shared.platform import telemetry, tracing

blueprint = func.Blueprint()


@blueprint.queue_trigger(arg_name="message", queue_name="image-requests", connection="STORAGE")
@telemetry.without_words
async def run_request(message: func.QueueMessage, context: func.Context) -> None:
    """Run the job of a message. What fails for want of storage raises: the message then comes back."""
    with tracing.invoked_by(context.trace_context.trace_parent or ""):
        await run.deliver(await messages.job_of(message.get_body(), message.id or ""))


@blueprint.queue_trigger(arg_name="message", queue_name="image-requests-poison", connection="STORAGE")
@telemetry.without_words
async def end_poisoned(message: func.QueueMessage) -> None:
    """End the job of a message that the platform gave up."""
    await messages.give_up(message.get_body(), message.id or "")
