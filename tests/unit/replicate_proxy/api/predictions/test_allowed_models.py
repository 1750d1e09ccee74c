"""The limit of a key to some models."""

from __future__ import annotations

import pytest

from replicate_proxy.api.predictions.allowed_models import check_allowed_models
from replicate_proxy.errors import ApiError
from replicate_proxy.jobs.model import Submission, SubmissionKind
from tests.support.builders import VERSION, make_event
from tests.support.prediction_api import PredictionApi

OTHER_VERSION = "b" * 64
MODEL = Submission(kind=SubmissionKind.MODEL, owner="acme", name="sdxl")
DEPLOYMENT = Submission(kind=SubmissionKind.DEPLOYMENT, owner="acme", name="sdxl")
# Two versions of which it is known what they belong to; others are unknown.
KNOWN_VERSIONS = {VERSION: "acme/sdxl", "c" * 64: "evil/model"}


def by_version(version: str) -> Submission:
    return Submission(kind=SubmissionKind.VERSION, version=version)


def is_allowed(submission: Submission, *allowed: str) -> bool:
    try:
        check_allowed_models(submission, allowed, KNOWN_VERSIONS.get)
    except ApiError:
        return False
    return True


@pytest.mark.parametrize(
    ("submission", "allowed"),
    [
        (MODEL, ()),
        (DEPLOYMENT, ()),
        (by_version(OTHER_VERSION), ()),
        (MODEL, ("acme/sdxl",)),
        (MODEL, ("x/y", "acme/*")),
        (by_version("acme/sdxl"), ("acme/sdxl",)),
        (by_version(VERSION), (VERSION,)),
        (by_version(f"acme/sdxl:{VERSION}"), (VERSION,)),
        (by_version(OTHER_VERSION), (OTHER_VERSION,)),
        (by_version(f"acme/sdxl:{VERSION}"), ("acme/sdxl",)),
        (by_version(VERSION), ("acme/*",)),
        (by_version(f"any/name:{VERSION}"), ("acme/sdxl",)),
        (DEPLOYMENT, ("deployments/acme/sdxl",)),
        (DEPLOYMENT, ("deployments/acme/*",)),
    ],
)
def test_listed_or_verified_model_is_allowed(submission: Submission, allowed: tuple[str, ...]) -> None:
    assert is_allowed(submission, *allowed)


@pytest.mark.parametrize(
    ("submission", "allowed"),
    [
        (MODEL, ("acme/other",)),
        (MODEL, ("deployments/acme/sdxl",)),
        (MODEL, ("deployments/*",)),
        (MODEL, (VERSION,)),
        (DEPLOYMENT, ("acme/sdxl",)),
        (DEPLOYMENT, ("acme/*",)),
        (by_version(OTHER_VERSION), ("acme/sdxl",)),
        (by_version(f"acme/sdxl:{OTHER_VERSION}"), ("acme/sdxl",)),
        (by_version(f"acme/sdxl:{OTHER_VERSION}"), ("acme/*",)),
        (by_version(f"acme/sdxl:{'c' * 64}"), ("acme/sdxl", "acme/*")),
        (by_version("acme/sdxl"), (VERSION,)),
        (by_version("hidden/model"), ("hidden",)),
    ],
)
def test_other_model_is_not_allowed(submission: Submission, allowed: tuple[str, ...]) -> None:
    assert not is_allowed(submission, *allowed)


@pytest.mark.parametrize(
    ("resource", "body"),
    [
        ("/v1/predictions", {"version": f"acme/sdxl:{OTHER_VERSION}", "input": {}}),
        ("/", {"version": f"acme/sdxl:{OTHER_VERSION}", "input": {}}),
        ("/v1/deployments/{owner}/{name}/predictions", {"input": {}}),
        ("/v1/batches", {"predictions": [{"version": f"acme/sdxl:{OTHER_VERSION}", "input": {}}]}),
        ("/v1/batches", {"predictions": [{"deployment": "acme/sdxl", "input": {}}]}),
    ],
)
def test_limited_key_creates_nothing_else_on_any_route(
    api: PredictionApi, resource: str, body: dict[str, object]
) -> None:
    event = make_event("POST", resource, body=body, params={"owner": "acme", "name": "sdxl"})
    event["requestContext"]["authorizer"]["models"] = "acme/sdxl"
    assert api.writes.handle(event)["statusCode"] == 403
    assert api.pipeline.store.jobs == {}
