"""What the deployed distribution does, for the output server, which plays CloudFront.

The emulator stores the distribution's origins, behaviors and policies, but serves S3 origins only, and
without looking at signatures.
"""

from typing import Any
from urllib.parse import urlsplit

from tools.local.emulator import get_client


def describe_distribution(endpoint_url: str, domain: str, upstream_url: str) -> dict[str, Any]:
    """Return what the output server has to know.

    The emulator serves the distribution at the host <label>.cloudfront.localhost, with the first label of its
    domain. Each behavior of streams has the addresses of its origins in the order of failover, the statuses
    that lead to the next, and what is forwarded; each of files the public keys that it trusts, by their IDs,
    if it needs signed URLs. The last one is the default:

        {"endpoint": "http://127.0.0.1:4566", "host": "<label>.cloudfront.localhost", "behaviors": [
            {"pattern": "/v1/*", "origins": ["http://127.0.0.1:8000", …], "failover": [404, …],
             "headers": ["accept", …], "forwards_query": true, "timeout": 120},
            {"pattern": "*", "public_keys": {"K…": "-----BEGIN PUBLIC KEY-----…"}}]}
    """
    cloudfront = get_client("cloudfront", endpoint_url)
    [config] = [
        cloudfront.get_distribution_config(Id=summary["Id"])["DistributionConfig"]
        for summary in cloudfront.list_distributions()["DistributionList"]["Items"]
        if summary["DomainName"] == domain
    ]
    origins = {origin["Id"]: origin for origin in config["Origins"]["Items"]}
    groups = {group["Id"]: group for group in config["OriginGroups"].get("Items", [])}
    behaviors: list[dict[str, Any]] = []
    default = {**config["DefaultCacheBehavior"], "PathPattern": "*"}
    for behavior in [*config["CacheBehaviors"].get("Items", []), default]:
        if "OriginRequestPolicyId" not in behavior:
            public_keys = _read_public_keys(cloudfront, behavior)
            behaviors.append({"pattern": behavior["PathPattern"], "public_keys": public_keys})
            continue
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


def _read_public_keys(cloudfront: Any, behavior: dict[str, Any]) -> dict[str, str]:
    """Return the keys of the behavior's trusted key groups, as PEM by their IDs."""
    group_ids = behavior.get("TrustedKeyGroups", {}).get("Items", [])
    key_ids = [
        key_id
        for group_id in group_ids
        for key_id in cloudfront.get_key_group(Id=group_id)["KeyGroup"]["KeyGroupConfig"]["Items"]
    ]
    keys = [cloudfront.get_public_key(Id=key_id)["PublicKey"] for key_id in key_ids]
    return {key["Id"]: key["PublicKeyConfig"]["EncodedKey"] for key in keys}


def _get_address(origin: dict[str, Any], endpoint_url: str, upstream_url: str) -> str:
    """Return where an origin is on this machine: the API in the emulator, or the local Replicate."""
    domain, path = origin["DomainName"], origin.get("OriginPath", "")
    api_id, is_api, _ = domain.partition(".execute-api.")
    if is_api:
        return f"{endpoint_url}/_aws/execute-api/{api_id}{path}"
    scheme = urlsplit(upstream_url).scheme if domain == urlsplit(upstream_url).netloc else "https"
    return f"{scheme}://{domain}{path}"
