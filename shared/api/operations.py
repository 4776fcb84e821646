"""Every route of the app, in the words of docs/api.md: those of images (`image_operations`), and those beside them."""

from __future__ import annotations

from shared.api.answers import JOB_ID
from shared.api.image_operations import OF_IMAGES
from shared.api.money import DAY
from shared.api.operation import JSON, REFUSED_BODY, Answer, Operation, json_answer, path, query
from shared.api.schema import one_of, ref, string
from shared.pipeline.usage import GROUPINGS, MOST_DAYS

UPLOADS, MONEY, SUBSCRIPTIONS, APP = "Uploads", "Money", "Subscriptions", "App"

_OF_UPLOADS = (
    Operation(
        function="create_upload",
        method="post",
        path="/api/uploads",
        tag=UPLOADS,
        summary="Get links to upload by",
        description="Links that create one blob each, for files too large for a request body; they work for 15 "
        "minutes.",
        body={JSON: ref("UploadRequest")},
        answers={201: json_answer("The links.", "UploadLinks")},
        errors=REFUSED_BODY,
    ),
)

_OF_MONEY = (
    Operation(
        function="estimate_cost",
        method="post",
        path="/api/estimates",
        tag=MONEY,
        summary="Estimate what requests cost",
        description="Tokens and money by the published tables, before anything is sent; nothing is stored or called.",
        body={JSON: ref("EstimateRequest")},
        answers={
            200: Answer(
                "The estimate; for several requests one for each, and their sum.",
                {JSON: {"anyOf": [ref("Estimate"), ref("Estimates")]}},
            )
        },
        errors=(*REFUSED_BODY, 404),
    ),
    Operation(
        function="get_usage",
        method="get",
        path="/api/usage",
        tag=MONEY,
        summary="Read what was used",
        description=f"Calls, images, tokens and money of the UTC days `from` to `to`, both included; {MOST_DAYS} days "
        "at most. Principals are shown their own calls.",
        parameters=(
            query("from", "The first day; by default the first of the month of `to`.", DAY),
            query("to", "The last day; by default today.", DAY),
            query("group_by", "Sums for each of these beside the total.", one_of(GROUPINGS)),
        ),
        answers={200: json_answer("The sums.", "UsageReport")},
        errors=(400,),
    ),
)

_SUBSCRIPTION = path("id", "The subscription.", string(pattern=JOB_ID))
_OF_SUBSCRIPTIONS = (
    Operation(
        function="subscribe",
        method="post",
        path="/api/subscriptions",
        tag=SUBSCRIPTIONS,
        summary="Be told when jobs end",
        description="Ended jobs are POSTed to `url`, signed with the subscription's own secret. The same URL again "
        "takes the place of its former subscription.",
        body={JSON: ref("SubscriptionRequest")},
        answers={
            201: json_answer(
                "The subscription; `Location` takes the DELETE.", "NewSubscription", ("Location", "Cache-Control")
            )
        },
        errors=(*REFUSED_BODY, 409),
    ),
    Operation(
        function="list_subscriptions",
        method="get",
        path="/api/subscriptions",
        tag=SUBSCRIPTIONS,
        summary="List subscriptions",
        description="The caller's, the newest first.",
        answers={200: json_answer("The subscriptions.", "SubscriptionList")},
        errors=(400,),
    ),
    Operation(
        function="get_subscription",
        method="get",
        path="/api/subscriptions/{id}",
        tag=SUBSCRIPTIONS,
        summary="Read a subscription",
        description="All but its secret and its URL's query.",
        parameters=(_SUBSCRIPTION,),
        answers={200: json_answer("The subscription.", "Subscription")},
        errors=(400, 404),
    ),
    Operation(
        function="unsubscribe",
        method="delete",
        path="/api/subscriptions/{id}",
        tag=SUBSCRIPTIONS,
        summary="End a subscription",
        description="One that is gone is as good.",
        parameters=(_SUBSCRIPTION,),
        answers={204: Answer("There is no such subscription any more.")},
        errors=(400, 404),
    ),
)

_OF_THE_APP = (
    Operation(
        function="get_health",
        method="get",
        path="/api/health",
        tag=APP,
        summary="Ask whether the app answers",
        description="Says nothing of what it depends on.",
        answers={200: Answer("It does.", {"text/plain": string()})},
        is_open=True,
    ),
    Operation(
        function="get_health_details",
        method="get",
        path="/api/health/details",
        tag=APP,
        summary="Ask for the health of every part",
        description="Versions, wrong settings, each dependency, each deployment; no secrets.",
        answers={200: json_answer("The details.", "Health")},
        errors=(400,),
    ),
    Operation(
        function="get_openapi",
        method="get",
        path="/api/openapi.json",
        tag=APP,
        summary="Read this document",
        description="OpenAPI 3.1.",
        answers={200: Answer("The document.", {JSON: {"type": "object"}}, ("Cache-Control",))},
        is_open=True,
    ),
)

OPERATIONS: tuple[Operation, ...] = (
    *OF_IMAGES,
    *_OF_UPLOADS,
    *_OF_MONEY,
    *_OF_SUBSCRIPTIONS,
    *_OF_THE_APP,
)
