"""The calls of AWS that a warm function makes for the request or message of its usual kind, and no others.

The growth of reads with what is stored, and the calls of the sweep, are counted by `make bench`
(docs/costs.md, Growth).
"""

from __future__ import annotations

import pytest

from tools.handlers.process import HandlerLab
from tools.handlers.stack import learn_sample_model
from tools.local.stack import Stack

EVENTS = 5
USUAL_CALLS = {
    # The key, whatever API Gateway has cached: a key that was revoked must not go on working.
    "authorize/api_key": ["dynamodb:GetItem"],
    "ingest/create": ["dynamodb:PutItem", "sqs:SendMessage"],
    "query/get": ["dynamodb:GetItem"],
    "query/list": ["dynamodb:Query", "dynamodb:BatchGetItem"],
    # The job; a slot of the rate limit; the claim, then, after the create, the owner of the prediction and
    # the job: each must be there before the next step.
    "dispatch/submit": ["dynamodb:GetItem", "dynamodb:UpdateItem", *["dynamodb:PutItem"] * 3],
    "webhook/completed": ["events:PutEvents"],
    "track/progressed": ["dynamodb:GetItem", "dynamodb:PutItem"],
    # The owner of a prediction that was not known, and the job.
    "track/started": ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:PutItem"],
    # The lease, the image with its original and thumbnail, and the job.
    "harvest/completed": [
        *("dynamodb:GetItem", "dynamodb:PutItem"),
        *("s3:PutObject", "s3:PutObject", "s3:PutObject"),
        "dynamodb:PutItem",
    ],
    # The endpoints; two events, each with its delivery: the body of an event before what refers to it.
    "notify/job_succeeded": [
        *("dynamodb:Query", *["dynamodb:PutItem"] * 4),
        *("sqs:SendMessageBatch", "events:PutEvents"),
    ],
    # The delivery with its neighbors, its event, the secret; a slot of the receiver, the claim; after the
    # request the attempt, the delivery, the slot, and the next delivery of the job.
    "deliver/delivery": [
        *("dynamodb:Query", "dynamodb:GetItem", "dynamodb:GetItem"),
        *("dynamodb:UpdateItem", "dynamodb:PutItem"),
        *("dynamodb:PutItem", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:Query"),
    ],
    "usage/job_succeeded": ["dynamodb:TransactWriteItems"],
    "files/create": ["s3:PutObject", "dynamodb:PutItem"],
    "endpoints/create": ["dynamodb:Query", "dynamodb:PutItem"],
}


@pytest.fixture(scope="module")
def lab(stack: Stack) -> HandlerLab:
    learn_sample_model(stack)
    return HandlerLab(stack)


@pytest.mark.parametrize("sample", USUAL_CALLS)
def test_warm_function_makes_its_usual_calls_only(lab: HandlerLab, sample: str) -> None:
    run = lab.run(sample, EVENTS)

    # What is cached for seconds may be read again in between, on a busy machine in more than one of them.
    fewest = min((invocation.calls for invocation in run.warm), key=len)
    assert list(fewest) == USUAL_CALLS[sample]
