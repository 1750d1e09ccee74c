"""What the deployed distribution does with streams, for the output server, which plays CloudFront for them.

The emulator stores the distribution's origins, behaviors and policies, but serves S3 origins only.
"""

from typing import Any
from urllib.parse import urlsplit

from tools.local.emulator import get_client


def describe_distribution(endpoint_url: str, domain: str, upstream_url: str) -> dict[str, Any]:
    """Return what the output server has to know.

    The emulator serves the distribution at the host <label>.cloudfront.localhost, with the first label of its
    domain. Each behavior has the addresses of its origins in the order of failover, the statuses that lead to
    the next, and what is forwarded:

        {"endpoint": "http://127.0.0.1:4566", "host": "<label>.cloudfront.localhost", "behaviors": [
            {"pattern": "/v1/*", "origins": ["http://127.0.0.1:8000", …], "failover": [404, …],
             "headers": ["accept", …], "forwards_query": true, "timeout": 120}]}
    """
    cloudfront = get_client("cloudfront", endpoint_url)
    [config] = [
        cloudfront.get_distribution_config(Id=summary["Id"])["DistributionConfig"]
        for summary in cloudfront.list_distributions()["DistributionList"]["Items"]
        if summary["DomainName"] == domain
    ]
    origins = {origin["Id"]: origin for origin in config["Origins"]["Items"]}
    groups = {group["Id"]: group for group in config["OriginGroups"].get("Items", [])}
    behaviors = []
    for behavior in config["CacheBehaviors"].get("Items", []):
        target = behavior["TargetOriginId"]
        group = groups.get(target)
        members = [member["OriginId"] for member in group["Members"]["Items"]] if group else [target]
        policy_id = behavior["OriginRequestPolicyId"]
        policy = cloudfront.get_origin_request_policy(Id=policy_id)["OriginRequestPolicy"]
        forwarded = policy["OriginRequestPolicyConfig"]
        behaviors.append(
            {
                "pattern": behavior["PathPattern"],
                "origins": [_get_address(origins[member], endpoint_url, upstream_url) for member in members],
                "failover": group["FailoverCriteria"]["StatusCodes"]["Items"] if group else [],
                "headers": [name.lower() for name in forwarded["HeadersConfig"]["Headers"]["Items"]],
                "forwards_query": forwarded["QueryStringsConfig"]["QueryStringBehavior"] == "all",
                "timeout": origins[members[0]]["CustomOriginConfig"]["OriginReadTimeout"],
            }
        )
    label = domain.partition(".")[0]
    return {"endpoint": endpoint_url, "host": f"{label}.cloudfront.localhost", "behaviors": behaviors}


def _get_address(origin: dict[str, Any], endpoint_url: str, upstream_url: str) -> str:
    """Return where an origin is on this machine: the API in the emulator, or the local Replicate."""
    domain, path = origin["DomainName"], origin.get("OriginPath", "")
    api_id, is_api, _ = domain.partition(".execute-api.")
    if is_api:
        return f"{endpoint_url}/_aws/execute-api/{api_id}{path}"
    scheme = urlsplit(upstream_url).scheme if domain == urlsplit(upstream_url).netloc else "https"
    return f"{scheme}://{domain}{path}"
