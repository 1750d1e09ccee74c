"""Towards the internet: distribution, network, firewall, and settings that only the local stack may have."""

from __future__ import annotations

from typing import Any

from tools.template.stack import Resource, Stack, iterate_parts, referenced_id

_ANY_ADDRESS = {"0.0.0.0/0", "::/0"}
_LOCAL_TYPES = {"ApiGateway::GatewayResponse"}
# Managed-CachingDisabled (CloudFront Developer Guide, "Use managed cache policies").
_CACHING_DISABLED = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
# Without an increased quota (CloudFront API Reference, CustomOriginConfig).
_MAX_ORIGIN_READ_TIMEOUT_SECONDS = 120
_CREDENTIAL_HEADERS = {"authorization", "cookie", "x-api-key"}
_INTERNET_ACCESS_TYPES = ("EC2::InternetGateway", "EC2::NatGateway", "EC2::EgressOnlyInternetGateway")


def check_distributions(stack: Stack) -> list[str]:
    violations = []
    for distribution in stack.of_type("CloudFront::Distribution"):
        config = distribution.properties["DistributionConfig"]
        if config["DefaultCacheBehavior"]["ViewerProtocolPolicy"] not in {"https-only", "redirect-to-https"}:
            violations.append(f"{distribution.id}: answers without TLS")
        for origin in config["Origins"]:
            if "CustomOriginConfig" in origin:
                if origin["CustomOriginConfig"]["OriginProtocolPolicy"] != "https-only":
                    violations.append(f"{distribution.id}: asks {origin['Id']} without TLS")
                continue
            control = stack.resources.get(referenced_id(origin.get("OriginAccessControlId")))
            if (
                control is None
                or control.properties["OriginAccessControlConfig"]["SigningBehavior"] != "always"
            ):
                violations.append(f"{distribution.id}: requests to {origin['Id']} are not always signed")
        certificate = config["ViewerCertificate"]
        if "AcmCertificateArn" in certificate and certificate["MinimumProtocolVersion"] != "TLSv1.2_2021":
            violations.append(f"{distribution.id}: accepts TLS older than 1.2")
    return violations + [
        f"{domain.id}: accepts TLS older than 1.2"
        for domain in stack.of_type("ApiGateway::DomainName")
        if domain.properties.get("SecurityPolicy") != "TLS_1_2" and not stack.is_local
    ]


def check_streams(stack: Stack) -> list[str]:
    """Check that streams reach clients unchanged, and that of their requests only the URL is forwarded.

    Every behavior but those of output files serves streams: from Replicate, or from the record.
    """
    violations = []
    for distribution in stack.of_type("CloudFront::Distribution"):
        config = distribution.properties["DistributionConfig"]
        origins = {origin["Id"]: origin for origin in config["Origins"]}
        for behavior in config.get("CacheBehaviors", []):
            if "S3OriginConfig" in origins.get(behavior["TargetOriginId"], {}):
                continue
            place = f"{distribution.id}: {behavior['PathPattern']}"
            violations += [f"{place}: {problem}" for problem in _find_stream_problems(stack, behavior)]
        for group in config["OriginGroups"]["Items"]:
            members = [origins[member["OriginId"]] for member in group["Members"]["Items"]]
            timeout_seconds = members[0]["CustomOriginConfig"].get("OriginReadTimeout")
            if timeout_seconds != _MAX_ORIGIN_READ_TIMEOUT_SECONDS:
                violations.append(f"{distribution.id}: gives up before {_MAX_ORIGIN_READ_TIMEOUT_SECONDS} s")
            if not {403, 404} <= set(group["FailoverCriteria"]["StatusCodes"]["Items"]):
                violations.append(f"{distribution.id}: a stream that is gone is not served from the record")
    return violations


def check_private_outputs(stack: Stack) -> list[str]:
    """The distribution reads private outputs only where every path to them needs a signed URL.

    These are all paths to the bucket but those of the public prefixes, so that a path which is spelled in
    another way than its pattern does not go around the signature.
    """
    violations = []
    readable = {
        str(resource.get("Fn::Sub", "")).rpartition("}/")[2]
        for policy in stack.of_type("S3::BucketPolicy")
        for statement in policy.properties["PolicyDocument"]["Statement"]
        if statement["Principal"] == {"Service": "cloudfront.amazonaws.com"}
        for resource in statement["Resource"]
    }
    for distribution in stack.of_type("CloudFront::Distribution"):
        config = distribution.properties["DistributionConfig"]
        buckets = {origin["Id"] for origin in config["Origins"] if "S3OriginConfig" in origin}
        behaviors = [*config["CacheBehaviors"], {**config["DefaultCacheBehavior"], "PathPattern": "*"}]
        open_patterns = {
            behavior["PathPattern"]
            for behavior in behaviors
            if behavior["TargetOriginId"] in buckets and not behavior.get("TrustedKeyGroups")
        }
        if readable == {"outputs/*", "thumbs/*", "private/*"}:
            expected = {"/outputs/*", "/thumbs/*"}
        else:
            expected = {"*"}
            violations += [f"{path} is readable" for path in sorted(readable - {"outputs/*", "thumbs/*"})]
        violations += [f"{distribution.id}: {path} needs no signature" for path in open_patterns - expected]
    return violations


def _find_stream_problems(stack: Stack, behavior: dict[str, Any]) -> list[str]:
    policy = stack.resources.get(referenced_id(behavior.get("OriginRequestPolicyId")))
    if policy is None:
        return ["has no origin request policy of this template"]
    config = policy.properties["OriginRequestPolicyConfig"]
    headers = config["HeadersConfig"]
    problems = []
    if headers["HeaderBehavior"] != "whitelist":
        problems.append("forwards headers that are not listed")
    elif {name.lower() for name in headers["Headers"]} & _CREDENTIAL_HEADERS:
        problems.append("forwards credentials")
    if config["CookiesConfig"]["CookieBehavior"] != "none":
        problems.append("forwards cookies")
    if behavior.get("CachePolicyId") != _CACHING_DISABLED:
        problems.append("is cached")
    if behavior.get("Compress") is not False:
        problems.append("is compressed, and therefore buffered")
    if set(behavior["AllowedMethods"]) != {"GET", "HEAD"}:
        problems.append("has other methods than GET and HEAD, for which CloudFront forwards Authorization")
    if behavior["ViewerProtocolPolicy"] != "https-only":
        problems.append("answers without TLS")
    return problems


def check_networks(stack: Stack) -> list[str]:
    violations = [
        f"{group.id}: accepts connections from any address"
        for group in stack.of_type("EC2::SecurityGroup")
        for entry in group.properties.get("SecurityGroupIngress", [])
        if {entry.get("CidrIp"), entry.get("CidrIpv6")} & _ANY_ADDRESS
    ]
    for kind in _INTERNET_ACCESS_TYPES:
        violations += [f"{resource.id}: opens a way to the internet" for resource in stack.of_type(kind)]
    for cluster in stack.of_type("DAX::Cluster"):
        if not cluster.properties.get("SSESpecification", {}).get("SSEEnabled"):
            violations.append(f"{cluster.id}: not encrypted at rest")
        if cluster.properties.get("ClusterEndpointEncryptionType") != "TLS":
            violations.append(f"{cluster.id}: not encrypted in transit")
    return violations


def check_firewalls(stack: Stack) -> list[str]:
    violations = []
    protected = (*stack.of_type("WAFv2::WebACLAssociation"), *stack.of_type("CloudFront::Distribution"))
    for acl in stack.of_type("WAFv2::WebACL"):
        rules = acl.properties["Rules"]
        if not any("RateBasedStatement" in rule["Statement"] for rule in rules):
            violations.append(f"{acl.id}: no rate limit")
        if not any("ManagedRuleGroupStatement" in rule["Statement"] for rule in rules):
            violations.append(f"{acl.id}: no managed rules")
        priorities = [rule["Priority"] for rule in rules]
        if len(set(priorities)) != len(priorities):
            violations.append(f"{acl.id}: two rules have the same priority")
        violations += _check_requests_of_replicate(acl)
        used = any(
            acl.id == referenced_id(part)
            for resource in protected
            for _, part in iterate_parts(resource.properties)
        )
        if not used:
            violations.append(f"{acl.id}: protects nothing")
    return violations


def _check_requests_of_replicate(acl: Resource) -> list[str]:
    """Its webhooks and fetches of input files pass before any rule that counts or suspects addresses.

    AWS WAF Developer Guide, "Rule action": Allow ends the evaluation.
    """
    if acl.properties["Scope"] != "REGIONAL":
        return []
    rules = sorted(acl.properties["Rules"], key=lambda rule: int(rule["Priority"]))
    names = [rule["Name"] for rule in rules if rule.get("Action") == {"Allow": {}}]
    if names != ["FromReplicate"]:
        return [f"{acl.id}: does not let Replicate through"]
    position = [rule["Name"] for rule in rules].index("FromReplicate")
    earlier = [rule["Name"] for rule in rules[:position] if rule["Name"] != "Denied"]
    return [f"{acl.id}: {name} applies to requests of Replicate" for name in earlier]


def check_no_local_settings(stack: Stack) -> list[str]:
    """A stack on AWS has none of the settings and resources that only the local stack has."""
    if stack.is_local:
        return []
    violations = [
        f"{function.id}: has local settings"
        for function in stack.of_type("Lambda::Function")
        if "LOCAL_SETTINGS" in function.properties["Environment"]["Variables"]
    ]
    return violations + [
        f"{resource.id}: only for the local stack"
        for kind in _LOCAL_TYPES
        for resource in stack.of_type(kind)
    ]
