"""The limit of a key to some models, `allowed_models`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.errors import ApiError
from replicate_proxy.jobs.model import Submission, SubmissionKind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def check_allowed_models(
    submission: Submission, allowed: Sequence[str], find_model: Callable[[str], str | None]
) -> None:
    """Raise a 403 ApiError if a key that is limited to the `allowed` models may not run the submission.

    A limit lists models (`owner/name`, `owner/*`), deployments (`deployments/owner/name`,
    `deployments/owner/*`) and version IDs. A version counts as its model's only if the proxy knows that it
    is (`find_model`): the name before the colon of `owner/name:version` is the caller's claim.
    """
    if not allowed or _list_names(submission, find_model) & set(allowed):
        return
    detail = "This API key may not run that model"
    if submission.kind is SubmissionKind.VERSION and submission.version_id != "hidden":
        detail += (
            "; if it may run the model of that version, read"
            " GET /v1/models/{owner}/{name}/versions/{id} first, or have its ID added to allowed_models"
        )
    raise ApiError(403, "Model not allowed", detail)


def _list_names(submission: Submission, find_model: Callable[[str], str | None]) -> set[str]:
    """Return the entries of a limit that allow the submission."""
    if submission.kind is SubmissionKind.DEPLOYMENT:
        return {f"deployments/{name}" for name in _list_with_owner(submission.model_name)}
    if submission.version_id == "hidden":
        return _list_with_owner(submission.model_name)
    model = find_model(submission.version_id)
    return {submission.version_id} | (_list_with_owner(model) if model else set())


def _list_with_owner(name: str) -> set[str]:
    return {name, f"{name.partition('/')[0]}/*"}
