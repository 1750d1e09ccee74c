"""Stored data: recoverable, encrypted, expiring, and closed to the public and to other accounts."""

from __future__ import annotations

from typing import Any

from tests.template.effective_permissions import as_list
from tools.template.stack import Resource, Stack, iterate_parts, referenced_id

_PUBLIC_ACCESS_BLOCKS = (
    "BlockPublicAcls",
    "BlockPublicPolicy",
    "IgnorePublicAcls",
    "RestrictPublicBuckets",
)
_OUTPUT_PREFIXES = ("outputs/", "originals/", "thumbs/", "private/")
_ENCRYPTED_TYPES = (
    "DynamoDB::Table",
    "S3::Bucket",
    "SQS::Queue",
    "SNS::Topic",
    "SecretsManager::Secret",
    "Logs::LogGroup",
    "Events::Archive",
    "Events::EventBus",
)
# Its chain of records cannot be verified without its beginning.
_PERMANENT_TABLES = frozenset({"AuditTable"})
# EventBridge User Guide, "Authorizing EventBridge to use a customer managed key" and "Encrypting archives"
_EVENT_KEY_ACTIONS = {"kms:DescribeKey", "kms:Decrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"}
# EventBridge User Guide, "Troubleshooting": what it needs to send to an encrypted queue. Conditions on the
# source are not supported then (Amazon SNS Developer Guide, "Managing encryption keys", about topics;
# https://github.com/awslabs/landing-zone-accelerator-on-aws/issues/407).
_EVENT_TARGET_ACTIONS = {"kms:Decrypt", "kms:GenerateDataKey*"}


def check_tables(stack: Stack) -> list[str]:
    violations = []
    for table in stack.of_type("DynamoDB::Table"):
        properties = table.properties
        if properties.get("BillingMode") != "PAY_PER_REQUEST":
            violations.append(f"{table.id}: not on demand")
        if not properties.get("PointInTimeRecoverySpecification", {}).get("PointInTimeRecoveryEnabled"):
            violations.append(f"{table.id}: no point-in-time recovery")
        expiry = None if table.id in _PERMANENT_TABLES else {"AttributeName": "expires_at", "Enabled": True}
        if properties.get("TimeToLiveSpecification") != expiry:
            violations.append(f"{table.id}: items do not expire as they should")
        if not properties.get("SSESpecification", {}).get("SSEEnabled"):
            violations.append(f"{table.id}: not encrypted with KMS")
    return violations


def check_buckets(stack: Stack) -> list[str]:
    violations = []
    for bucket in stack.of_type("S3::Bucket"):
        properties = bucket.properties
        block = properties.get("PublicAccessBlockConfiguration", {})
        violations += [
            f"{bucket.id}: {name} is off" for name in _PUBLIC_ACCESS_BLOCKS if block.get(name) is not True
        ]
        if "BucketEncryption" not in properties:
            violations.append(f"{bucket.id}: not encrypted")
        lifecycle = properties.get("LifecycleConfiguration", {}).get("Rules", [])
        if not any("AbortIncompleteMultipartUpload" in rule for rule in lifecycle):
            violations.append(f"{bucket.id}: incomplete uploads are not removed")
        violations += _check_lifecycle(bucket, lifecycle, stack)
        if properties.get("OwnershipControls") != {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}:
            violations.append(f"{bucket.id}: has access control lists")
    return violations


def _check_lifecycle(bucket: Resource, rules: list[dict[str, Any]], stack: Stack) -> list[str]:
    """All but output files expires, nothing expires before what refers to it, and S3 accepts the rules."""
    days = {rule["Prefix"]: int(rule["ExpirationInDays"]) for rule in rules if "ExpirationInDays" in rule}
    retention_seconds = [
        int(queue.properties["MessageRetentionPeriod"]) for queue in stack.of_type("SQS::Queue")
    ]
    min_days = {
        "events/": max(retention_seconds) / 86400,
        "records/": int(stack.parameters["JobRetentionDays"]),
        "files/": 1,
    }
    retention_days = int(stack.parameters["OutputRetentionDays"])
    violations = [
        f"{bucket.id}: {prefix} does not expire with the outputs"
        for prefix in _OUTPUT_PREFIXES
        if days.get(prefix, 0) != retention_days
    ]
    violations += [
        f"{bucket.id}: {prefix} does not expire, or expires within {least:g} days"
        for prefix, least in min_days.items()
        if days.get(prefix, 0) < least
    ]
    return violations + [
        f"{bucket.id}: {rule['Prefix']} expires before it changes class, which S3 rejects"
        for rule in rules
        for transition in rule.get("Transitions", ())
        if "ExpirationInDays" in rule and int(transition["TransitionInDays"]) >= days[rule["Prefix"]]
    ]


def check_bucket_policies(stack: Stack) -> list[str]:
    if stack.is_local:
        return []  # the emulator speaks plain HTTP on loopback
    violations = []
    for bucket in stack.of_type("S3::Bucket"):
        statements = [
            statement
            for policy in stack.of_type("S3::BucketPolicy")
            if referenced_id(policy.properties["Bucket"]) == bucket.id
            for statement in policy.properties["PolicyDocument"]["Statement"]
        ]
        denials = [
            statement["Condition"]
            for statement in statements
            if statement["Effect"] == "Deny"
            and statement["Principal"] == "*"
            and len(statement["Resource"]) == 2
        ]
        if {"Bool": {"aws:SecureTransport": "false"}} not in denials:
            violations.append(f"{bucket.id}: answers without TLS")
        if not any("aws:PrincipalAccount" in condition.get("StringNotEquals", {}) for condition in denials):
            violations.append(f"{bucket.id}: open to other accounts")
        for statement in statements:
            if statement["Effect"] != "Allow":
                continue
            if "aws:SourceArn" not in statement.get("Condition", {}).get("StringEquals", {}):
                violations.append(f"{bucket.id}: allows a service without naming its resource")
            if not all(_is_output_prefix(resource) for resource in statement["Resource"]):
                violations.append(f"{bucket.id}: the distribution reads more than output files")
    return violations


def check_queue_encryption(stack: Stack) -> list[str]:
    return [
        f"{queue.id}: not encrypted"
        for queue in stack.of_type("SQS::Queue")
        if not (queue.properties.get("SqsManagedSseEnabled") is True or "KmsMasterKeyId" in queue.properties)
    ]


def check_customer_managed_key(stack: Stack) -> list[str]:
    """With UseCustomerManagedKey on, everything that can be encrypted with the key is."""
    keys = {key.id for key in stack.of_type("KMS::Key")}
    if not keys:
        return []
    violations = [
        f"{key}: not rotated" for key in keys if not stack.resources[key].properties.get("EnableKeyRotation")
    ]
    violations += _check_event_encryption(stack)
    return violations + [
        f"{resource.id}: not encrypted with the customer-managed key"
        for kind in _ENCRYPTED_TYPES
        for resource in stack.of_type(kind)
        if not keys & {referenced_id(part) for _, part in iterate_parts(resource.properties)}
    ]


def _check_event_encryption(stack: Stack) -> list[str]:
    """EventBridge may use the key, and keeps events that it cannot encrypt or decrypt.

    EventBridge User Guide, "Encrypting event buses": without a dead-letter queue of the bus they are lost.
    """
    queues = {queue.id for queue in stack.of_type("SQS::Queue")}
    violations = [
        f"{bus.id}: loses events that cannot be encrypted"
        for bus in stack.of_type("Events::EventBus")
        if referenced_id(bus.properties.get("DeadLetterConfig", {}).get("Arn")) not in queues
    ]
    for key in stack.of_type("KMS::Key"):
        allowed: set[str] = set()
        unconditional: set[str] = set()
        for statement in key.properties["KeyPolicy"]["Statement"]:
            if "events.amazonaws.com" in as_list(statement["Principal"].get("Service", [])):
                actions = set(as_list(statement["Action"]))
                allowed |= actions
                unconditional |= set() if "Condition" in statement else actions
        missing = sorted((_EVENT_KEY_ACTIONS - allowed) | (_EVENT_TARGET_ACTIONS - unconditional))
        violations += [f"{key.id}: EventBridge lacks {action}" for action in missing]
    return violations


def _is_output_prefix(resource: object) -> bool:
    return isinstance(resource, dict) and str(resource.get("Fn::Sub", "")).endswith(
        ("/outputs/*", "/thumbs/*", "/private/*")
    )
