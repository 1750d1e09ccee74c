"""What is kept: recoverable, encrypted, expiring, closed to the public and to other accounts."""

from __future__ import annotations

from typing import Any

from tests.template.stack import Resource, Stack, target, walk

_BLOCKS = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")


def tables(stack: Stack) -> list[str]:
    found = []
    for table in stack.of("DynamoDB::Table"):
        properties = table.properties
        if properties.get("BillingMode") != "PAY_PER_REQUEST":
            found.append(f"{table.id}: not on demand")
        if not properties.get("PointInTimeRecoverySpecification", {}).get("PointInTimeRecoveryEnabled"):
            found.append(f"{table.id}: no point-in-time recovery")
        if properties.get("TimeToLiveSpecification") != {"AttributeName": "expires_at", "Enabled": True}:
            found.append(f"{table.id}: items never expire")
        if not properties.get("SSESpecification", {}).get("SSEEnabled"):
            found.append(f"{table.id}: not encrypted with KMS")
        found += _kept(table)
    return found


def buckets(stack: Stack) -> list[str]:
    found = []
    for bucket in stack.of("S3::Bucket"):
        properties = bucket.properties
        block = properties.get("PublicAccessBlockConfiguration", {})
        found += [f"{bucket.id}: {name} is off" for name in _BLOCKS if block.get(name) is not True]
        if "BucketEncryption" not in properties:
            found.append(f"{bucket.id}: not encrypted")
        lifecycle = properties.get("LifecycleConfiguration", {}).get("Rules", [])
        if not any("AbortIncompleteMultipartUpload" in rule for rule in lifecycle):
            found.append(f"{bucket.id}: abandoned uploads stay")
        found += _lifecycle(bucket, lifecycle, stack)
        if properties.get("OwnershipControls") != {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}:
            found.append(f"{bucket.id}: has access control lists")
        found += _kept(bucket)
    return found


def _lifecycle(bucket: Resource, rules: list[dict[str, Any]], stack: Stack) -> list[str]:
    """Nothing stays for ever but output files; nothing goes before what points at it; S3 takes the rules."""
    days = {rule["Prefix"]: int(rule["ExpirationInDays"]) for rule in rules if "ExpirationInDays" in rule}
    queued = max(int(queue.properties["MessageRetentionPeriod"]) for queue in stack.of("SQS::Queue")) / 86400
    shortest = {"events/": queued, "records/": int(stack.parameters["JobRetentionDays"]), "files/": 1}
    found = [
        f"{bucket.id}: {prefix} never expires, or before {least:g} days are over"
        for prefix, least in shortest.items()
        if days.get(prefix, 0) < least
    ]
    return found + [
        f"{bucket.id}: {rule['Prefix']} expires before it changes class, which S3 refuses"
        for rule in rules
        for transition in rule.get("Transitions", ())
        if "ExpirationInDays" in rule and int(transition["TransitionInDays"]) >= days[rule["Prefix"]]
    ]


def bucket_policies(stack: Stack) -> list[str]:
    if stack.holds("IsLocal"):
        return []  # the local AWS speaks plain HTTP on loopback
    found = []
    for bucket in stack.of("S3::Bucket"):
        statements = [
            statement
            for policy in stack.of("S3::BucketPolicy")
            if target(policy.properties["Bucket"]) == bucket.id
            for statement in policy.properties["PolicyDocument"]["Statement"]
        ]
        denied = [
            one["Condition"]
            for one in statements
            if one["Effect"] == "Deny" and one["Principal"] == "*" and len(one["Resource"]) == 2
        ]
        if {"Bool": {"aws:SecureTransport": "false"}} not in denied:
            found.append(f"{bucket.id}: answers without TLS")
        if not any("aws:PrincipalAccount" in condition.get("StringNotEquals", {}) for condition in denied):
            found.append(f"{bucket.id}: open to other accounts")
        for one in statements:
            if one["Effect"] == "Allow" and "aws:SourceArn" not in one.get("Condition", {}).get(
                "StringEquals", {}
            ):
                found.append(f"{bucket.id}: allows without naming the caller")
            if one["Effect"] == "Allow" and any(
                not _within_outputs(resource) for resource in one["Resource"]
            ):
                found.append(f"{bucket.id}: the distribution reads more than output files")
    return found


def queues_are_encrypted(stack: Stack) -> list[str]:
    return [
        f"{queue.id}: not encrypted"
        for queue in stack.of("SQS::Queue")
        if not (queue.properties.get("SqsManagedSseEnabled") is True or "KmsMasterKeyId" in queue.properties)
    ]


def one_key_for_everything(stack: Stack) -> list[str]:
    """With UseCustomerManagedKey on: whatever can be encrypted with it is."""
    keys = {key.id for key in stack.of("KMS::Key")}
    if not keys:
        return []
    found = [
        f"{key}: not rotated" for key in keys if not stack.resources[key].properties.get("EnableKeyRotation")
    ]
    kinds = (
        "DynamoDB::Table",
        "S3::Bucket",
        "SQS::Queue",
        "SNS::Topic",
        "SecretsManager::Secret",
        "Logs::LogGroup",
        "Events::EventBus",
    )
    return found + [
        f"{resource.id}: not encrypted with the customer's key"
        for kind in kinds
        for resource in stack.of(kind)
        if not keys & {target(part) for _, part in walk(resource.properties) if isinstance(part, dict)}
    ]


def _kept(resource: Resource) -> list[str]:
    wanted = {"DeletionPolicy": "Retain", "UpdateReplacePolicy": "Retain"}
    return [
        f"{resource.id}: {name} is not {value}"
        for name, value in wanted.items()
        if resource.declared.get(name) != value
    ]


def _within_outputs(resource: object) -> bool:
    return isinstance(resource, dict) and str(resource.get("Fn::Sub", "")).endswith(
        ("/outputs/*", "/thumbs/*")
    )
