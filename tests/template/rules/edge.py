"""Towards the world: distribution, network, firewall, and settings that only the local stack may carry."""

from __future__ import annotations

from tests.template.stack import Stack, source, target, walk

_ANYWHERE = {"0.0.0.0/0", "::/0"}
_LOCAL_TYPES = {"ApiGateway::GatewayResponse"}


def distributions(stack: Stack) -> list[str]:
    found = []
    for distribution in stack.of("CloudFront::Distribution"):
        config = distribution.properties["DistributionConfig"]
        if config["DefaultCacheBehavior"]["ViewerProtocolPolicy"] not in {"https-only", "redirect-to-https"}:
            found.append(f"{distribution.id}: answers without TLS")
        for origin in config["Origins"]:
            access = stack.resources.get(target(origin.get("OriginAccessControlId")))
            if (
                access is None
                or access.properties["OriginAccessControlConfig"]["SigningBehavior"] != "always"
            ):
                found.append(f"{distribution.id}: {origin['Id']} is not always signed for")
        certificate = config["ViewerCertificate"]
        if "AcmCertificateArn" in certificate and certificate["MinimumProtocolVersion"] != "TLSv1.2_2021":
            found.append(f"{distribution.id}: takes old TLS")
    return found + [
        f"{domain.id}: takes old TLS"
        for domain in stack.of("ApiGateway::DomainName")
        if domain.properties.get("SecurityPolicy") != "TLS_1_2" and not stack.holds("IsLocal")
    ]


def networks_are_closed(stack: Stack) -> list[str]:
    found = [
        f"{group.id}: anybody may connect"
        for group in stack.of("EC2::SecurityGroup")
        for entry in group.properties.get("SecurityGroupIngress", [])
        if {entry.get("CidrIp"), entry.get("CidrIpv6")} & _ANYWHERE
    ]
    for kind in ("EC2::InternetGateway", "EC2::NatGateway", "EC2::EgressOnlyInternetGateway"):
        found += [f"{way.id}: a way out" for way in stack.of(kind)]
    for cluster in stack.of("DAX::Cluster"):
        if not cluster.properties.get("SSESpecification", {}).get("SSEEnabled"):
            found.append(f"{cluster.id}: not encrypted at rest")
        if cluster.properties.get("ClusterEndpointEncryptionType") != "TLS":
            found.append(f"{cluster.id}: not encrypted on the way")
    return found


def firewalls(stack: Stack) -> list[str]:
    found = []
    for acl in stack.of("WAFv2::WebACL"):
        rules = acl.properties["Rules"]
        if not any("RateBasedStatement" in rule["Statement"] for rule in rules):
            found.append(f"{acl.id}: no rate rule")
        if not any("ManagedRuleGroupStatement" in rule["Statement"] for rule in rules):
            found.append(f"{acl.id}: no managed rules")
        priorities = [rule["Priority"] for rule in rules]
        if len(set(priorities)) != len(priorities):
            found.append(f"{acl.id}: two rules of one priority")
        scope = acl.properties["Scope"]
        users = [
            resource.id
            for resource in (*stack.of("WAFv2::WebACLAssociation"), *stack.of("CloudFront::Distribution"))
            if acl.id in {target(part) for _, part in walk(resource.properties) if isinstance(part, dict)}
        ]
        if not users:
            found.append(f"{acl.id}: {scope}, but in front of nothing")
    return found


def local_settings_stay_local(stack: Stack) -> list[str]:
    """A stack on AWS carries none of the local stack's settings; a rule refuses to make one."""
    found = []
    rule = source().get("Rules", {}).get("LocalStackStaysLocal", {})
    if rule.get("Assertions", [{}])[0].get("Assert") != {
        "Fn::Equals": [{"Ref": "AWS::AccountId"}, "000000000000"]
    }:
        found.append("no rule keeps LocalStack=true out of real accounts")
    if stack.holds("IsLocal"):
        return found
    found += [
        f"{function.id}: carries local settings"
        for function in stack.of("Lambda::Function")
        if "LOCAL_SETTINGS" in function.properties["Environment"]["Variables"]
    ]
    return found + [
        f"{resource.id}: only for the local stack" for kind in _LOCAL_TYPES for resource in stack.of(kind)
    ]
