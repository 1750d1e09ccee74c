"""Each rule can fail: break the template in one place, and the rule that watches that place says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.template.rules import ALL, Rule, api, data, edge, functions, hops, permissions, watching
from tests.template.stack import Stack, load
from tests.template.test_rules import VARIANTS

type Break = Callable[[dict[str, Any]], None]
type Case = tuple[Rule, str, Break]

_DROP: Any = object()


def put(path: str, value: Any = _DROP) -> Break:
    """Replaces the part of the transformed resources at `path`, or drops it."""

    def mutate(resources: dict[str, Any]) -> None:
        *way, last = path.split("/")
        place: Any = resources
        for step in way:
            place = place[int(step) if isinstance(place, list) else step]
        key: Any = int(last) if isinstance(place, list) else last
        if value is _DROP:
            del place[key]
        else:
            place[key] = value

    return mutate


def api_method(path: str, method: str, key: str, value: Any = _DROP) -> Break:
    def mutate(resources: dict[str, Any]) -> None:
        put(key, value)(resources["Api"]["Properties"]["Body"]["paths"][path][method])

    return mutate


def add(name: str, kind: str, **properties: Any) -> Break:
    return lambda resources: resources.update({name: {"Type": f"AWS::{kind}", "Properties": properties}})


def picture(shown: str, instead: str) -> Break:
    """Another text in the dashboard."""

    def mutate(resources: dict[str, Any]) -> None:
        body = resources["OperationsDashboard"]["Properties"]["DashboardBody"]
        body["Fn::Sub"] = body["Fn::Sub"].replace(shown, instead)

    return mutate


def statement(role: str, key: str, value: Any) -> Break:
    return put(f"{role}/Properties/Policies/0/PolicyDocument/Statement/0/{key}", value)


DISPATCH_SOURCE = "DispatchFunctionDispatch/Properties"
STREAM_SOURCE = "NotifyFunctionJobs/Properties"
RULE_TARGET = "HarvestRule/Properties/Targets/0"
JOBS = "JobsTable/Properties"
BUCKET = "DataBucket/Properties"
RULES = f"{BUCKET}/LifecycleConfiguration/Rules"
POLICY = "DataBucketPolicy/Properties/PolicyDocument/Statement"
BODY = "Api/Properties/Body"
ANSWERS = f"{BODY}/x-amazon-apigateway-gateway-responses"
ALLOW_ORIGIN = "responseParameters/gatewayresponse.header.Access-Control-Allow-Origin"
STAGE = "ApiStage/Properties"
OPEN_GROUP = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "CidrIp": "0.0.0.0/0"}

CASES: list[Case] = [
    (hops.queues_are_consumed_or_dead_letter, "default", add("Forgotten", "SQS::Queue")),
    (hops.queue_consumers, "default", put(f"{DISPATCH_SOURCE}/FunctionResponseTypes")),
    (hops.queue_consumers, "default", put(f"{DISPATCH_SOURCE}/ScalingConfig")),
    (hops.queue_consumers, "default", put("DispatchFunction/Properties/Timeout", 61)),
    (hops.queue_consumers, "default", put("HarvestQueue/Properties/VisibilityTimeout", 300)),
    (hops.queue_consumers, "default", put("TrackQueue/Properties/RedrivePolicy")),
    (hops.queue_consumers, "default", put("TrackQueue/Properties/RedrivePolicy/maxReceiveCount", 1)),
    (hops.stream_consumers, "default", put(f"{STREAM_SOURCE}/BisectBatchOnFunctionError")),
    (hops.stream_consumers, "default", put(f"{STREAM_SOURCE}/MaximumRetryAttempts")),
    (hops.stream_consumers, "default", put(f"{STREAM_SOURCE}/MaximumRecordAgeInSeconds", -1)),
    (hops.stream_consumers, "default", put(f"{STREAM_SOURCE}/DestinationConfig")),
    (hops.stream_consumers, "default", put(f"{STREAM_SOURCE}/FunctionResponseTypes", [])),
    (hops.event_targets, "default", put(f"{RULE_TARGET}/RetryPolicy")),
    (hops.event_targets, "default", put(f"{RULE_TARGET}/DeadLetterConfig")),
    (hops.event_targets, "default", put("EventQueuesPolicy")),
    (hops.asynchronous_invocations, "default", put("SweepFunctionEventInvokeConfig")),
    (hops.dead_letters_raise_an_alarm, "default", put("SweepDeadLetterAlarm")),
    (hops.dead_letters_raise_an_alarm, "default", put("BusDeadLetterAlarm/Properties/Threshold", 100)),
    (functions.log_groups, "default", put("HarvestLogGroup")),
    (functions.log_groups, "default", put("HarvestLogGroup/Properties/RetentionInDays")),
    (
        functions.roles_are_own,
        "default",
        put("TrackFunction/Properties/Role", {"Fn::GetAtt": ["SweepRole", "Arn"]}),
    ),
    (functions.traced_and_bounded, "default", put("QueryFunction/Properties/TracingConfig")),
    (functions.traced_and_bounded, "default", put("QueryFunction/Properties/Timeout", 30)),
    (functions.traced_and_bounded, "default", put("QueryFunction/Properties/Environment/Variables/STAGE")),
    (
        functions.no_secret_in_the_environment,
        "default",
        put("DispatchFunction/Properties/Environment/Variables/REPLICATE_TOKEN", "r8_made_up"),
    ),
    (
        functions.no_secret_in_the_environment,
        "default",
        put("DispatchFunction/Properties/Environment/Variables/X", {"Fn::Sub": "{{resolve:ssm-secure:/x}}"}),
    ),
    (watching.alarms_reach_somebody, "default", put("ApiErrorsAlarm/Properties/AlarmActions")),
    (watching.alarms_reach_somebody, "everything", put("CostAnomalySubscription/Properties/Subscribers", [])),
    (
        watching.own_metrics_are_counted_and_told_apart,
        "default",
        put("JobFailuresAlarm/Properties/Metrics/1/MetricStat/Metric/MetricName", "JobsFailed"),
    ),
    (
        watching.own_metrics_are_counted_and_told_apart,
        "local",
        put("OutputLostAlarm/Properties/Dimensions/0/Value", "another-stack"),
    ),
    (
        watching.own_metrics_are_counted_and_told_apart,
        "default",
        put("TrackFunction/Properties/Environment/Variables/POWERTOOLS_SERVICE_NAME", "track"),
    ),
    (watching.own_metrics_are_counted_and_told_apart, "default", picture("JobSeconds", "JobMinutes")),
    (watching.the_dashboard_shows_everything, "default", picture("${NotifyQueue.QueueName}", "notify")),
    (watching.the_dashboard_shows_everything, "default", picture("${BreakerOpenAlarm.Arn}", "breaker")),
    (
        functions.invocations_name_their_source,
        "default",
        put("IngestFunctionCreatePredictionPermissionStage/Properties/SourceArn"),
    ),
    (permissions.no_star_action, "default", statement("TrackRole", "Action", "sqs:*")),
    (permissions.no_star_action, "default", statement("TrackRole", "Action", ["sqs:SendMessage", "*"])),
    (permissions.stars_have_reasons, "default", statement("TrackRole", "Resource", "*")),
    (permissions.stars_have_reasons, "everything", put("SqsEndpoint/Properties/PolicyDocument")),
    (
        permissions.no_foreign_managed_policy,
        "default",
        put("TrackRole/Properties/ManagedPolicyArns/0", "arn:aws:iam::aws:policy/AdministratorAccess"),
    ),
    (data.tables, "default", put(f"{JOBS}/PointInTimeRecoverySpecification")),
    (data.tables, "default", put(f"{JOBS}/TimeToLiveSpecification")),
    (data.tables, "default", put(f"{JOBS}/SSESpecification")),
    (data.tables, "default", put(f"{JOBS}/BillingMode", "PROVISIONED")),
    (data.tables, "default", put("JobsTable/DeletionPolicy", "Delete")),
    (data.buckets, "default", put(f"{BUCKET}/PublicAccessBlockConfiguration/BlockPublicPolicy", value=False)),
    (data.buckets, "default", put(f"{BUCKET}/BucketEncryption")),
    (data.buckets, "default", put(f"{BUCKET}/LifecycleConfiguration")),
    (data.buckets, "default", put(f"{RULES}/1/ExpirationInDays", 2)),
    (data.buckets, "default", put(f"{RULES}/3/ExpirationInDays", 0)),
    (data.buckets, "everything", put(f"{RULES}/4/Transitions/0/TransitionInDays", 30)),
    (data.bucket_policies, "default", put(f"{POLICY}/0")),
    (data.bucket_policies, "default", put(f"{POLICY}/1")),
    (data.bucket_policies, "default", put(f"{POLICY}/2/Condition")),
    (data.bucket_policies, "default", put(f"{POLICY}/2/Resource/0", {"Fn::Sub": "${DataBucket.Arn}/*"})),
    (data.queues_are_encrypted, "default", put("DispatchQueue/Properties/SqsManagedSseEnabled")),
    (data.one_key_for_everything, "everything", put("DispatchQueue/Properties/KmsMasterKeyId")),
    (data.one_key_for_everything, "everything", put("IngestLogGroup/Properties/KmsKeyId")),
    (data.one_key_for_everything, "everything", put("DataKey/Properties/EnableKeyRotation")),
    (api.methods_are_authorized, "default", api_method("/v1/predictions", "post", "security")),
    (
        api.methods_are_authorized,
        "default",
        api_method("/admin/{proxy+}", "delete", "security", [{"NONE": []}]),
    ),
    (api.methods_are_authorized, "everything", api_method("/v1/files", "get", "security", [{"Keys": []}])),
    (
        api.methods_are_validated,
        "default",
        api_method("/v1/predictions", "post", "x-amazon-apigateway-request-validator", "params-only"),
    ),
    (api.methods_are_validated, "default", api_method("/v1/predictions", "post", "parameters", [])),
    (api.methods_are_validated, "default", put(f"{BODY}/x-amazon-apigateway-request-validator")),
    (
        api.caches_keep_callers_apart,
        "everything",
        api_method("/v1/account", "get", "x-amazon-apigateway-integration/cacheKeyParameters", []),
    ),
    (
        api.caches_keep_callers_apart,
        "everything",
        lambda resources: resources["ApiStage"]["Properties"]["MethodSettings"].append(
            {"HttpMethod": "GET", "ResourcePath": "/~1v1~1predictions~1{id}", "CachingEnabled": True}
        ),
    ),
    (api.refusals_are_problems, "default", put(f"{ANSWERS}/UNAUTHORIZED")),
    (api.refusals_are_problems, "default", put(f"{ANSWERS}/THROTTLED/responseParameters", {})),
    (api.refusals_are_problems, "default", put(f"{ANSWERS}/BAD_REQUEST_BODY/statusCode", 400)),
    (api.refusals_are_problems, "default", put(f"{ANSWERS}/AUTHORIZER_CONFIGURATION_ERROR")),
    (api.refusals_are_problems, "default", put(f"{ANSWERS}/THROTTLED/{ALLOW_ORIGIN}", "'*'")),
    (api.refusals_are_problems, "everything", put(f"{ANSWERS}/UNAUTHORIZED/{ALLOW_ORIGIN}", "'*'")),
    (api.refusals_are_problems, "everything", put(f"{ANSWERS}/DEFAULT_5XX/{ALLOW_ORIGIN}")),
    (api.stages_are_throttled, "default", put(f"{STAGE}/MethodSettings/0/ThrottlingRateLimit")),
    (
        edge.distributions,
        "default",
        put(
            "OutputsDistribution/Properties/DistributionConfig/DefaultCacheBehavior/ViewerProtocolPolicy",
            "allow-all",
        ),
    ),
    (
        edge.distributions,
        "default",
        put("OutputsOriginAccessControl/Properties/OriginAccessControlConfig/SigningBehavior", "no-override"),
    ),
    (edge.distributions, "everything", put("ApiDomain/Properties/SecurityPolicy", "TLS_1_0")),
    (
        edge.networks_are_closed,
        "everything",
        put("EndpointsSecurityGroup/Properties/SecurityGroupIngress/0", OPEN_GROUP),
    ),
    (edge.networks_are_closed, "everything", add("Gateway", "EC2::InternetGateway")),
    (edge.networks_are_closed, "everything", put("DaxCluster/Properties/SSESpecification")),
    (
        edge.networks_are_closed,
        "everything",
        put("DaxCluster/Properties/ClusterEndpointEncryptionType", "NONE"),
    ),
    (edge.firewalls, "everything", put("ApiWebAclAssociation")),
    (edge.firewalls, "everything", put("ApiWebAcl/Properties/Rules", [])),
    (
        edge.local_settings_stay_local,
        "default",
        put("TrackFunction/Properties/Environment/Variables/LOCAL_SETTINGS", "{}"),
    ),
]


@pytest.mark.parametrize(("rule", "variant", "mutate"), CASES, ids=lambda part: getattr(part, "__name__", ""))
def test_a_rule_tells_what_was_broken(rule: Rule, variant: str, mutate: Break) -> None:
    whole = load(**VARIANTS[variant])
    template = json.loads(json.dumps(whole.template))

    mutate(template["Resources"])

    assert rule(Stack(template, VARIANTS[variant])) != []


def test_every_rule_is_broken_at_least_once() -> None:
    assert {rule.__name__ for rule, _, _ in CASES} == {rule.__name__ for rule in ALL}
