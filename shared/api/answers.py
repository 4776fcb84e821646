"""What Darkroom answers: jobs, lists, batches, images, links to upload by, health, errors; and what it tells others."""

from __future__ import annotations

from collections.abc import Iterable

from shared.api.money import COUNT, DAY
from shared.api.schema import DATE_TIME, OPEN, Schema, given, integer, listed, nullable, one_of, ref, string
from shared.errors import CODES
from shared.images import request as requests
from shared.jobs.batch import BatchStatus
from shared.jobs.job import Phase, Status
from shared.jobs.subscriptions import ENDS
from shared.pipeline import listing

JOB_ID = r"^[0-7][0-9a-v]{25}$"
"""`shared.jobs.job.is_id`."""
SHA256 = "^[0-9a-f]{64}$"
PROVENANCE_STATES = ("trusted", "valid", "invalid", "none")

_TYPES = tuple(f"Darkroom.Job.{status.value.capitalize()}" for status in ENDS)
_URI: Schema = {"type": "string", "format": "uri"}


def components() -> dict[str, Schema]:
    """The schemas by name."""
    return {
        "Error": given({"error": ref("ErrorBody")}),
        "ErrorBody": _error(),
        "Job": _job(),
        "JobSummary": given(_summary(), ("purged_at",), "A job as a list has it."),
        "JobList": _list(),
        "Image": _image(),
        "DerivedImage": _derived_image(),
        "StoredRequest": _request(),
        "Adapted": _adapted(),
        "ImagesAnswer": _images_answer(),
        "Provenance": _provenance(),
        "Batch": _batch(),
        "UploadLinks": _upload_links(),
        "Subscription": given(_subscription()),
        "NewSubscription": given(
            {**_subscription(), "secret": string("Checks the signatures; shown this once.", pattern="^whsec_")}
        ),
        "SubscriptionList": given({"data": listed(ref("Subscription"))}),
        "Health": _health(),
        "JobEnded": _job_ended(),
        "JobEvent": _event("Job", _TYPES, "jobs/<id>", "<id>/<status>"),
        "BatchEvent": _event("Batch", ("Darkroom.Batch.Completed",), "batches/<id>", "<id>/completed"),
    }


def _error() -> Schema:
    inner = given({"code": string("A more precise code.")})
    members = {
        "message": string("What is wrong, and the fix."),
        "type": string(),
        "param": nullable(string("The field that is wrong.")),
        "code": string(f"One of Darkroom's own ({', '.join(f'`{code}`' for code in CODES)}), or the model service's."),
        "inner_error": inner,
    }
    body = given(
        members, ("inner_error",), "As the images API has it; refusals of the model service keep all that it said."
    )
    return {**body, "additionalProperties": True}


def _summary() -> dict[str, Schema]:
    links = {"self": _URI, "cancel": _URI}
    return {
        "id": string("26 characters; the newest job sorts first.", pattern=JOB_ID),
        "kind": one_of(requests.KINDS),
        "status": one_of(Status),
        "phase": nullable(one_of(Phase, "What a running job is doing.")),
        "owner": string("A principal, `key`, `queue` or `upload`."),
        "batch": nullable(string(pattern=JOB_ID)),
        "created_at": DATE_TIME,
        "started_at": nullable(DATE_TIME),
        "finished_at": nullable(DATE_TIME),
        "purged_at": {**DATE_TIME, "description": "There when the job was purged."},
        "attempts": {**COUNT, "description": "Calls of the model that counted."},
        "deployment": nullable(string("The deployment that was called, or whose turn is waited for.")),
        "region": nullable(string()),
        "error": nullable(ref("ErrorBody")),
        "links": given(links),
    }


def _job() -> Schema:
    members = {
        **_summary(),
        "links": given(
            {"self": _URI, "cancel": _URI, "poll": {**_URI, "description": "In answers to a submit and a poll only."}},
            ("poll",),
        ),
        "adapted": listed(ref("Adapted"), description="What was understood in another way than written."),
        "request": ref("StoredRequest"),
        "images": listed(ref("Image")),
        "usage": nullable(ref("Usage")),
        "cost": nullable(ref("Cost")),
        "metadata": ref("Metadata"),
    }
    return given(members, ("purged_at",), "The job document.")


def _list() -> Schema:
    members = {
        "data": listed(ref("JobSummary"), most=listing.MAX_LIMIT),
        "continuation": nullable(string("Where the list goes on; null at its end.")),
    }
    return given(members)


def _image() -> Schema:
    members = {
        "index": COUNT,
        "url": {**_URI, "description": "A link that works for `RESULT_LINK_MINUTES`; unsigned in events."},
        "blob": string("`results/<yyyy>/<mm>/<dd>/<job>/<index>.<ext>`"),
        "content_type": one_of(("image/png", "image/jpeg", "image/webp")),
        "width": integer(1),
        "height": integer(1),
        "bytes": integer(1),
        "sha256": string(pattern=SHA256),
        "revised_prompt": nullable(string()),
        "content_filter": nullable({**OPEN, "description": "The service's verdicts on `content` and `prompt`."}),
        "derived": listed(ref("DerivedImage"), description="What was made of it for the caller."),
        "provenance": given({"state": one_of(PROVENANCE_STATES), "issuer": nullable(string())}),
    }
    return given(members)


def _derived_image() -> Schema:
    members = {"url": _URI, **_derived_members()}
    return given(members, description="An image that was made of the model's: of a size it does not have, or exact.")


def _derived_members() -> dict[str, Schema]:
    image = _image()["properties"]
    same = ("content_type", "width", "height", "bytes", "sha256", "provenance")
    return {
        "blob": string("`results/<yyyy>/<mm>/<dd>/<job>/<index>.<how>-<width>x<height>-….<ext>`"),
        **{name: image[name] for name in same},
        "how": one_of(
            ("contain", "cover", "preserve"), "Padded or cropped to its size, or put into the mask over the source."
        ),
    }


def _request() -> Schema:
    return {
        **OPEN,
        "description": "The request as accepted: names of blobs in place of image data, `?…` for query strings. Empty "
        "once the job was purged.",
        "properties": {
            "kind": one_of(requests.KINDS),
            "prompt": string("Not in events and callbacks, unless the app was told to show it."),
            "model": string(),
            "n": integer(1),
            "size": string(),
            "quality": string(),
            "output_format": string(),
            "images": listed(OPEN),
            "mask": OPEN,
            "boxes": listed(ref("Box")),
            "preserve": string(),
            "fit": string("How an image of `fitted_size` is made: `contain` or `cover`."),
            "fitted_size": string("The size of the derived image; `size` is what the model is asked for."),
            "metadata": ref("Metadata"),
        },
    }


def _adapted() -> Schema:
    members = {name: string() for name in ("field", "from", "to")}
    how = string("How an image of the size `from` is made of the model's, of the size `to`.")
    return given({**members, "how": how}, ("how",))


def _images_answer() -> Schema:
    item = {
        "b64_json": string("The image as base64.", contentEncoding="base64"),
        "url": {**_URI, "description": "With `response_format` `url`."},
        "revised_prompt": nullable(string()),
        "content_filter_results": OPEN,
        "prompt_filter_results": OPEN,
    }
    members = {
        "created": {"type": "integer"},
        "data": listed(given(item, tuple(item)), 1),
        **{name: string() for name in ("background", "output_format", "quality", "size")},
        "usage": ref("Usage"),
        "darkroom": given({"adapted": listed(ref("Adapted"))}),
    }
    optional = tuple(name for name in members if name not in ("created", "data"))
    return given(members, optional, "The service's own answer, with the images from storage in place.")


def _provenance() -> Schema:
    manifest = {
        "state": one_of(PROVENANCE_STATES),
        "codes": listed(string()),
        **{
            name: nullable(string())
            for name in ("issuer", "common_name", "claim_generator", "digital_source_type", "software_agent")
        },
        "manifest": nullable({**OPEN, "description": "The whole C2PA manifest store."}),
    }
    of_original = ("revised_prompt", "content_filter", "derived")
    members = {
        "job": string(pattern=JOB_ID),
        "of": string("In the sidecar of a derived image: the blob of the model's image."),
        "how": string("In the sidecar of a derived image: how it was made."),
        **{name: one for name, one in _image()["properties"].items() if name != "url"},
        "derived": listed(given(_derived_members())),
        "request": ref("StoredRequest"),
        "adapted": listed(ref("Adapted")),
        "model": string(),
        "deployment": nullable(string()),
        "region": nullable(string()),
        "service_request_id": nullable(string()),
        "timings": given(
            {name: nullable(DATE_TIME) for name in ("created_at", "started_at", "call_started_at", "stored_at")}
        ),
        "usage": nullable(ref("Usage")),
        "cost": nullable(ref("Cost")),
        "metadata": ref("Metadata"),
        "provenance": given(manifest),
    }
    return given(members, ("of", "how", *of_original), "The sidecar of an image.")


def _batch() -> Schema:
    counts = dict.fromkeys(("total", "pending", "succeeded", "failed", "canceled"), COUNT)
    members = {
        "id": string(pattern=JOB_ID),
        "status": one_of(BatchStatus),
        "owner": string(),
        "created_at": DATE_TIME,
        "finished_at": nullable(DATE_TIME),
        "cancel_requested": {"type": "boolean"},
        "counts": given(counts),
        "metadata": ref("Metadata"),
        "links": given(dict.fromkeys(("self", "jobs", "cancel"), _URI)),
    }
    return given(members)


def _upload_links() -> Schema:
    file = {
        "name": string(),
        "blob": string(),
        "url": _URI,
        "method": one_of(("PUT",)),
        "headers": {"type": "object", "additionalProperties": {"type": "string"}},
    }
    return given({"folder": string(pattern=JOB_ID), "expires_at": DATE_TIME, "files": listed(given(file), 1)})


def _subscription() -> dict[str, Schema]:
    return {
        "id": string(pattern=JOB_ID),
        "url": string("Where ended jobs are POSTed to; `?…` for its query."),
        "statuses": listed(one_of(ENDS), 1, description="Which ends are told."),
        "jobs": one_of(("all", "own"), "Whose jobs."),
        "owner": string(),
        "created_at": DATE_TIME,
        "failing_since": nullable(DATE_TIME),
        "metadata": ref("Metadata"),
        "links": given({"self": _URI}),
    }


def _health() -> Schema:
    dependency = {
        "status": one_of(("ok", "failed")),
        "milliseconds": COUNT,
        "error": string(),
        "code": nullable(string()),
        "expires_on": {**DAY, "description": "Of `signing`: the last day of the certificate."},
        "days_left": COUNT,
    }
    texts: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
    members = {
        "status": one_of(("ok", "degraded")),
        "versions": texts,
        "base64": string(),
        "problems": listed(string()),
        "dependencies": {
            "type": "object",
            "additionalProperties": given(dependency, ("milliseconds", "error", "code", "expires_on", "days_left")),
        },
        "events_waiting_since": nullable(DATE_TIME),
        "deployments": listed(_deployment()),
    }
    return given(members)


def _deployment() -> Schema:
    members = {
        "name": string(),
        "model": string(),
        "region": nullable(string()),
        "requests_per_minute": {"type": "number", "exclusiveMinimum": 0},
        "priority": {"type": "integer"},
        "next_turn_at": nullable(DATE_TIME),
        "blocked_until": nullable(DATE_TIME),
        "out": nullable(string("Why nobody calls it.")),
        "model_retires_on": nullable(DAY),
    }
    return given(members)


def _job_ended() -> Schema:
    members = {"type": one_of(_TYPES), "timestamp": DATE_TIME, "data": ref("Job")}
    return given(members, description="What callbacks and subscriptions are sent.")


def _event(data: str, types: Iterable[str], subject: str, event_id: str) -> Schema:
    members = {
        "specversion": one_of(("1.0",)),
        "id": string(f"`{event_id}`, the same on every delivery."),
        "source": string("`/darkroom/<app name>`"),
        "subject": string(f"`{subject}`"),
        "type": one_of(types),
        "time": DATE_TIME,
        "data": ref(data),
    }
    return given(members, description="A CloudEvent 1.0 on the Event Grid topic.")
