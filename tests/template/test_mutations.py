"""Each rule can fail: break the templates in one place, and the rule for that place reports it."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from tests.template.rules import (
    RULES,
    Rule,
    api,
    data,
    deployment,
    edge,
    functions,
    messaging,
    monitoring,
    permissions,
)
from tests.template.variants import VARIANTS, load_variant
from tools.template.stack import MAIN, Stack, Templates, iterate_parts

type Mutation = Callable[[Templates], None]
type Case = tuple[Rule, str, Mutation]

_REMOVED: Any = object()


def put(path: str, value: Any = _REMOVED) -> Mutation:
    """Replace the part at `path`, which begins with a logical ID of any template, or remove it."""

    def mutate(templates: Templates) -> None:
        *steps, last = path.split("/")
        part: Any = _find_resources(templates, path.split("/", maxsplit=1)[0])
        for step in steps:
            part = part[int(step) if isinstance(part, list) else step]
        key: Any = int(last) if isinstance(part, list) else last
        if value is _REMOVED:
            del part[key]
        else:
            part[key] = value

    return mutate


def put_in_method(path: str, method: str, key: str, value: Any = _REMOVED) -> Mutation:
    """Replace the part at `key` of one method of the API, or remove it."""

    def mutate(templates: Templates) -> None:
        definition = templates[MAIN]["Resources"]["Api"]["Properties"]["Body"]["paths"][path][method]
        put(f"method/{key}", value)({MAIN: {"Resources": {"method": definition}}})

    return mutate


def put_in_path(path: str) -> Mutation:
    """Add a route to the API."""
    definition: dict[str, Any] = {path: {"get": {}}}
    return lambda templates: templates[MAIN]["Resources"]["Api"]["Properties"]["Body"]["paths"].update(
        definition
    )


def add(name: str, kind: str, **properties: Any) -> Mutation:
    """Add a resource to the main template."""
    resource = {"Type": f"AWS::{kind}", "Properties": properties}
    return lambda templates: templates[MAIN]["Resources"].update({name: resource})


def append(path: str, value: Any) -> Mutation:
    """Append to the list at `path` of the main template."""

    def mutate(templates: Templates) -> None:
        part: Any = templates[MAIN]["Resources"]
        for step in path.split("/"):
            part = part[int(step) if isinstance(part, list) else step]
        part.append(value)

    return mutate


def append_to_alarm(alarm: str, function: str) -> Mutation:
    """Have an alarm watch the errors of one more function."""
    dimensions = [{"Name": "FunctionName", "Value": {"Fn::Sub": f"${{ServiceName}}-{function}"}}]
    metric = {"Namespace": "AWS/Lambda", "MetricName": "Errors", "Dimensions": dimensions}
    query = {
        "Id": function,
        "ReturnData": False,
        "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Sum"},
    }
    return lambda templates: _find_resources(templates, alarm)[alarm]["Properties"]["Metrics"].append(query)


def replace_in_dashboard(old: str, new: str) -> Mutation:
    def mutate(templates: Templates) -> None:
        dashboard = _find_resources(templates, "OperationsDashboard")["OperationsDashboard"]
        body = dashboard["Properties"]["DashboardBody"]
        body["Fn::Sub"] = body["Fn::Sub"].replace(old, new)

    return mutate


def rename_deployment(templates: Templates) -> None:
    """Name the deployment as SAM does without AlwaysDeploy: the same for the same template."""
    resources = templates[MAIN]["Resources"]
    (old,) = [
        name for name, resource in resources.items() if resource["Type"] == "AWS::ApiGateway::Deployment"
    ]
    resources["ApiDeployment0123456789"] = resources.pop(old)
    resources["ApiStage"]["Properties"]["DeploymentId"] = {"Ref": "ApiDeployment0123456789"}


def put_in_statement(key: str, value: Any) -> Mutation:
    """Replace a part of the first statement of a role."""
    return put(f"AuthorizeFunctionRole/Properties/Policies/1/PolicyDocument/Statement/0/{key}", value)


def remove_from_statement(resource: str, sid: str, *path: str) -> Mutation:
    """Remove the part at `path` of a statement, or all of it, of a function's role or of a managed policy."""

    def mutate(templates: Templates) -> None:
        resources = templates[MAIN]["Resources"]
        name = f"{resource}Role" if f"{resource}Role" in resources else resource
        [found] = [
            place
            for place, part in iterate_parts(resources[name])
            if isinstance(part, dict) and part.get("Sid") == sid
        ]
        put("/".join((name, *found.strip("/").split("/"), *path)))(templates)

    return mutate


def _find_resources(templates: Templates, logical_id: str) -> dict[str, Any]:
    (resources,) = [
        template["Resources"] for template in templates.values() if logical_id in template["Resources"]
    ]
    found: dict[str, Any] = resources
    return found


DISPATCH_SOURCE = "DispatchFunctionDispatch/Properties"
STREAM_SOURCE = "NotifyFunctionJobs/Properties"
RULE_TARGET = "HarvestRule/Properties/Targets/0"
JOBS_TABLE = "JobsTable/Properties"
BUCKET = "DataBucket/Properties"
LIFECYCLE = f"{BUCKET}/LifecycleConfiguration/Rules"
BUCKET_POLICY = "DataBucketPolicy/Properties/PolicyDocument/Statement"
API = "Api/Properties/Body"
POLICY = f"{API}/x-amazon-apigateway-policy/Statement"
DENIAL = f"{POLICY}/1/Fn::If/1"
RESPONSES = f"{API}/x-amazon-apigateway-gateway-responses"
ALLOW_ORIGIN = "responseParameters/gatewayresponse.header.Access-Control-Allow-Origin"
RETRY_AFTER = "responseParameters/gatewayresponse.header.Retry-After"
SHOULD_RETRY = "responseParameters/gatewayresponse.header.X-Should-Retry"
STAGE = "ApiStage/Properties"
DISTRIBUTION = "OutputsDistribution/Properties/DistributionConfig"
STREAMS_POLICY = "StreamsOriginRequestPolicy/Properties/OriginRequestPolicyConfig"
BOUNDARY = "FunctionBoundary/Properties/PolicyDocument/Statement"
OPEN_INGRESS = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "CidrIp": "0.0.0.0/0"}

CASES: list[Case] = [
    (messaging.check_no_orphan_queues, "default", add("OrphanQueue", "SQS::Queue", QueueName="orphan")),
    (messaging.check_queue_consumers, "default", put(f"{DISPATCH_SOURCE}/FunctionResponseTypes")),
    (messaging.check_queue_consumers, "default", put(f"{DISPATCH_SOURCE}/ScalingConfig")),
    (messaging.check_queue_consumers, "default", put("DispatchFunction/Properties/Timeout", 61)),
    (messaging.check_queue_consumers, "default", put("HarvestQueue/Properties/VisibilityTimeout", 300)),
    (messaging.check_queue_consumers, "default", put("TrackQueue/Properties/RedrivePolicy")),
    (
        messaging.check_queue_consumers,
        "default",
        put("TrackQueue/Properties/RedrivePolicy/maxReceiveCount", 1),
    ),
    (messaging.check_stream_consumers, "default", put(f"{STREAM_SOURCE}/BisectBatchOnFunctionError")),
    (messaging.check_stream_consumers, "default", put(f"{STREAM_SOURCE}/MaximumRetryAttempts")),
    (messaging.check_stream_consumers, "default", put(f"{STREAM_SOURCE}/MaximumRecordAgeInSeconds", -1)),
    (messaging.check_stream_consumers, "default", put(f"{STREAM_SOURCE}/DestinationConfig")),
    (messaging.check_stream_consumers, "default", put(f"{STREAM_SOURCE}/FunctionResponseTypes", [])),
    (messaging.check_event_targets, "default", put(f"{RULE_TARGET}/RetryPolicy")),
    (messaging.check_event_targets, "default", put(f"{RULE_TARGET}/DeadLetterConfig")),
    (messaging.check_event_targets, "default", put("HarvestQueuePolicy")),
    (messaging.check_event_targets, "default", put("BusDeadLetterQueuePolicy")),
    (messaging.check_event_targets, "default", put(f"{RULE_TARGET}/SqsParameters")),
    (
        messaging.check_policies_of_queues_and_topics,
        "default",
        append("TrackQueuePolicy/Properties/Queues", {"Ref": "NotifyQueue"}),
    ),
    (
        messaging.check_policies_of_queues_and_topics,
        "default",
        put(
            "TrackQueuePolicy/Properties/PolicyDocument/Statement/0/Resource",
            [{"Fn::GetAtt": ["TrackQueue", "Arn"]}, {"Fn::GetAtt": ["HarvestQueue", "Arn"]}],
        ),
    ),
    (
        messaging.check_policies_of_queues_and_topics,
        "default",
        put("TrackQueuePolicy/Properties/Queues/0", {"Ref": "HarvestQueue"}),
    ),
    (messaging.check_asynchronous_invocations, "default", put("SweepFunctionEventInvokeConfig")),
    (
        messaging.check_redrives_of_invocations,
        "default",
        remove_from_statement("OperatorPolicy", "Invoke", "Resource/1"),
    ),
    (messaging.check_dead_letter_alarms, "default", put("SweepDeadLetterAlarm")),
    (messaging.check_dead_letter_alarms, "default", put("BusDeadLetterAlarm/Properties/Threshold", 100)),
    (
        messaging.check_dead_letter_alarms,
        "default",
        put("TrackDeadLetterQueue/Properties/QueueName", "renamed-without-its-alarm"),
    ),
    (messaging.check_queue_age_alarms, "default", put("TrackQueueAgeAlarm")),
    (messaging.check_queue_age_alarms, "default", put("HarvestQueueAgeAlarm/Properties/Threshold", 1800)),
    (messaging.check_queue_age_alarms, "default", put("HarvestQueueAgeAlarm/Properties/Threshold", 3600)),
    (functions.check_log_groups, "default", put("HarvestLogGroup")),
    (functions.check_log_groups, "default", put("HarvestLogGroup/Properties/RetentionInDays")),
    (
        functions.check_roles_not_shared,
        "default",
        put("TrackFunction/Properties/Role", {"Fn::GetAtt": ["SweepFunctionRole", "Arn"]}),
    ),
    (functions.check_tracing_and_limits, "default", put("QueryFunction/Properties/TracingConfig")),
    (functions.check_tracing_and_limits, "default", put("QueryFunction/Properties/Timeout", 30)),
    (
        functions.check_tracing_and_limits,
        "default",
        put("QueryFunction/Properties/Environment/Variables/LOG_LEVEL"),
    ),
    (
        functions.check_no_secrets_in_environment,
        "default",
        put("DispatchFunction/Properties/Environment/Variables/REPLICATE_TOKEN", "r8_made_up"),
    ),
    (
        functions.check_no_secrets_in_environment,
        "default",
        put("DispatchFunction/Properties/Environment/Variables/X", {"Fn::Sub": "{{resolve:ssm-secure:/x}}"}),
    ),
    (
        functions.check_invoke_permissions,
        "default",
        put("IngestFunctionCreatePredictionPermissionStage/Properties/SourceArn"),
    ),
    (
        functions.check_no_reserved_concurrency,
        "default",
        put("SweepFunction/Properties/ReservedConcurrentExecutions", 1),
    ),
    (monitoring.check_alarm_actions, "default", put("ApiErrorsAlarm/Properties/AlarmActions")),
    (monitoring.check_alarm_actions, "everything", put("CostAnomalySubscription/Properties/Subscribers", [])),
    (
        monitoring.check_alarm_limits,
        "everything",
        append_to_alarm("WorkerFunctionErrorsAlarm", "query"),
    ),
    (
        monitoring.check_alarm_limits,
        "default",
        put("JobFailuresAlarm/Properties/EvaluationPeriods", 289),
    ),
    (
        monitoring.check_metrics,
        "default",
        put("JobFailuresAlarm/Properties/Metrics/1/MetricStat/Metric/MetricName", "JobsFailed"),
    ),
    (
        monitoring.check_metrics,
        "polling",
        put("OutputLostAlarm/Properties/Dimensions/0/Value", "another-stack"),
    ),
    (
        monitoring.check_metrics,
        "default",
        put("TrackFunction/Properties/Environment/Variables/POWERTOOLS_SERVICE_NAME", "track"),
    ),
    (monitoring.check_metrics, "everything", replace_in_dashboard("JobSeconds", "JobMinutes")),
    (
        monitoring.check_metrics,
        "everything",
        replace_in_dashboard('MetricName=\\"ApiSeconds', 'MetricName=\\"Api'),
    ),
    (
        monitoring.check_missing_data,
        "default",
        put("JobFailuresAlarm/Properties/Metrics/0/Expression", "100 * failed / FILL(succeeded, 0)"),
    ),
    (monitoring.check_schedules, "default", put("SweepStoppedAlarm")),
    (monitoring.check_schedules, "default", put("SweepStoppedAlarm/Properties/TreatMissingData", "missing")),
    (
        monitoring.check_schedules,
        "default",
        put("SweepStoppedAlarm/Properties/Metrics/1/MetricStat/Metric/MetricName", "Throttles"),
    ),
    (
        monitoring.check_dashboard,
        "everything",
        replace_in_dashboard('"QueueName", "${ServiceName}-notify"', '"QueueName", "x"'),
    ),
    (monitoring.check_dashboard, "everything", replace_in_dashboard("${BreakerOpenAlarm.Arn}", "breaker")),
    (permissions.check_no_wildcard_actions, "default", put_in_statement("Action", "dynamodb:*")),
    (permissions.check_no_wildcard_actions, "default", put_in_statement("Action", ["dynamodb:GetItem", "*"])),
    (permissions.check_wildcard_resources, "default", put_in_statement("Resource", "*")),
    (permissions.check_wildcard_resources, "everything", put("SqsEndpoint/Properties/PolicyDocument")),
    (permissions.check_function_permissions, "default", put_in_statement("Resource", "*")),
    (
        permissions.check_function_permissions,
        "default",
        put("IngestFunctionRole/Properties/PermissionsBoundary"),
    ),
    (permissions.check_function_permissions, "default", put(f"{BOUNDARY}/0/NotAction", ["xray:*", "ec2:*"])),
    (permissions.check_function_permissions, "default", put(f"{BOUNDARY}/1/Resource", "*")),
    (
        permissions.check_function_permissions,
        "default",
        remove_from_statement("TrackFunction", "PollNoOtherQueue"),
    ),
    (
        permissions.check_function_permissions,
        "default",
        remove_from_statement("NotifyFunction", "ReadNoOtherStream"),
    ),
    (
        permissions.check_network_interfaces,
        "default",
        remove_from_statement("FunctionBoundary", "NetworkInterfaces"),
    ),
    (
        permissions.check_network_interfaces,
        "everything",
        remove_from_statement("FunctionBoundary", "NetworkInterfaces", "Condition"),
    ),
    (
        permissions.check_aws_managed_policies,
        "default",
        put(
            "TrackFunctionRole/Properties/ManagedPolicyArns/0", "arn:aws:iam::aws:policy/AdministratorAccess"
        ),
    ),
    (data.check_tables, "default", put(f"{JOBS_TABLE}/PointInTimeRecoverySpecification")),
    (data.check_tables, "default", put(f"{JOBS_TABLE}/TimeToLiveSpecification")),
    (data.check_tables, "default", put(f"{JOBS_TABLE}/SSESpecification")),
    (data.check_tables, "default", put(f"{JOBS_TABLE}/BillingMode", "PROVISIONED")),
    (deployment.check_retained_resources, "default", put("JobsTable/DeletionPolicy", "Delete")),
    (deployment.check_retained_resources, "default", put("DataBucket/DeletionPolicy", "Retain")),
    (deployment.check_retained_resources, "everything", put("ApiLoggingRole/DeletionPolicy")),
    (
        deployment.check_names,
        "default",
        put("SweepDeadLetterQueue/Properties/QueueName", {"Fn::Sub": "${AWS::StackName}-" + "x" * 33}),
    ),
    (
        deployment.check_names,
        "default",
        put(
            "OutputsOriginAccessControl/Properties/OriginAccessControlConfig/Name", {"Ref": "AWS::StackName"}
        ),
    ),
    (
        deployment.check_names,
        "everything",
        put("OperationsDashboard/Properties/DashboardName", {"Ref": "ServiceName"}),
    ),
    (deployment.check_names, "default", put("EventBus/Properties/Name", "bus")),
    (deployment.check_names, "default", put("JobsTable/Properties/TableName", "jobs")),
    (
        deployment.check_every_named_type_has_a_limit,
        "default",
        add("Machine", "StepFunctions::StateMachine", StateMachineName={"Ref": "AWS::StackName"}),
    ),
    (deployment.check_logging_role, "everything", put("ApiAccessLogGroup/DependsOn")),
    (deployment.check_logging_role, "everything", put("ApiGatewayAccount/DependsOn")),
    (deployment.check_order_of_tables, "default", put("UsageTable/DependsOn")),
    (deployment.check_no_cycles, "default", put("JobsTable/DependsOn", "IngestFunction")),
    (deployment.check_deployments, "default", rename_deployment),
    (
        data.check_buckets,
        "default",
        put(f"{BUCKET}/PublicAccessBlockConfiguration/BlockPublicPolicy", value=False),
    ),
    (data.check_buckets, "default", put(f"{BUCKET}/BucketEncryption")),
    (data.check_buckets, "default", put(f"{BUCKET}/LifecycleConfiguration")),
    (data.check_buckets, "default", put(f"{LIFECYCLE}/1/ExpirationInDays", 2)),
    (data.check_buckets, "default", put(f"{LIFECYCLE}/3/ExpirationInDays", 0)),
    (data.check_buckets, "everything", put(f"{LIFECYCLE}/4/Transitions/0/TransitionInDays", 30)),
    (data.check_buckets, "everything", put(f"{LIFECYCLE}/6")),
    (data.check_bucket_policies, "default", put(f"{BUCKET_POLICY}/0")),
    (data.check_bucket_policies, "default", put(f"{BUCKET_POLICY}/1")),
    (data.check_bucket_policies, "default", put(f"{BUCKET_POLICY}/2/Condition")),
    (
        data.check_bucket_policies,
        "default",
        put(f"{BUCKET_POLICY}/2/Resource/0", {"Fn::Sub": "${DataBucket.Arn}/*"}),
    ),
    (data.check_queue_encryption, "default", put("DispatchQueue/Properties/SqsManagedSseEnabled")),
    (data.check_customer_managed_key, "everything", put("DispatchQueue/Properties/KmsMasterKeyId")),
    (data.check_customer_managed_key, "everything", put("AlarmTopic/Properties/KmsMasterKeyId")),
    (data.check_customer_managed_key, "everything", put("IngestLogGroup/Properties/KmsKeyId")),
    (data.check_customer_managed_key, "everything", put("DataKey/Properties/EnableKeyRotation")),
    (data.check_customer_managed_key, "everything", put("EventArchive/Properties/KmsKeyIdentifier")),
    (data.check_customer_managed_key, "everything", put("EventBus/Properties/DeadLetterConfig")),
    (data.check_customer_managed_key, "everything", put("DataKey/Properties/KeyPolicy/Statement/2")),
    (
        data.check_customer_managed_key,
        "everything",
        put(
            "DataKey/Properties/KeyPolicy/Statement/2/Condition",
            {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}},
        ),
    ),
    (
        data.check_customer_managed_key,
        "everything",
        put("DataKey/Properties/KeyPolicy/Statement/3/Action", ["kms:Decrypt", "kms:GenerateDataKey*"]),
    ),
    (api.check_authorization, "default", put_in_method("/v1/predictions", "post", "security")),
    (
        api.check_authorization,
        "default",
        put_in_method("/admin/{proxy+}", "delete", "security", [{"NONE": []}]),
    ),
    (api.check_authorization, "everything", put_in_method("/v1/files", "get", "security", [{"Keys": []}])),
    (
        api.check_request_validation,
        "default",
        put_in_method("/v1/predictions", "post", "x-amazon-apigateway-request-validator", "params-only"),
    ),
    (api.check_request_validation, "default", put_in_method("/v1/predictions", "post", "parameters", [])),
    (api.check_request_validation, "default", put(f"{API}/x-amazon-apigateway-request-validator")),
    (
        api.check_cache_keys,
        "everything",
        put_in_method("/v1/account", "get", "x-amazon-apigateway-integration/cacheKeyParameters", []),
    ),
    (
        api.check_cache_keys,
        "everything",
        append(
            f"{STAGE}/MethodSettings/Fn::If/1",
            {"HttpMethod": "GET", "ResourcePath": "/~1v1~1predictions~1{id}", "CachingEnabled": True},
        ),
    ),
    (
        api.check_cache_keys,
        "everything",
        put_in_method(
            "/v1/models",
            "get",
            "x-amazon-apigateway-integration/cacheKeyParameters",
            ["method.request.header.Authorization", "method.request.querystring.cursor"],
        ),
    ),
    (
        api.check_resource_policy,
        "everything",
        put(f"{DENIAL}/Resource", ["execute-api:/*/POST/*", "execute-api:/*/GET/*"]),
    ),
    (api.check_resource_policy, "everything", put(f"{DENIAL}/Resource/5")),
    (api.check_resource_policy, "everything", put_in_path("/v2/jobs")),
    (api.check_resource_policy, "default", put(f"{API}/x-amazon-apigateway-policy")),
    (api.check_resource_policy, "default", put(f"{POLICY}/0/Effect", "Deny")),
    (
        api.check_resource_policy,
        "everything",
        put(f"{DENIAL}/NotResource", "execute-api:/*/POST/webhooks/replicate"),
    ),
    (api.check_gateway_responses, "default", put(f"{RESPONSES}/UNAUTHORIZED")),
    (api.check_gateway_responses, "default", put(f"{RESPONSES}/THROTTLED/responseParameters", {})),
    (api.check_gateway_responses, "default", put(f"{RESPONSES}/QUOTA_EXCEEDED/{RETRY_AFTER}", "'3600'")),
    (api.check_gateway_responses, "default", put(f"{RESPONSES}/BAD_REQUEST_BODY/statusCode", 400)),
    (api.check_gateway_responses, "default", put(f"{RESPONSES}/AUTHORIZER_CONFIGURATION_ERROR")),
    (api.check_gateway_responses, "default", put(f"{RESPONSES}/INTEGRATION_TIMEOUT/{SHOULD_RETRY}")),
    (api.check_gateway_responses, "default", put(f"{RESPONSES}/THROTTLED/{ALLOW_ORIGIN}", "'*'")),
    (api.check_gateway_responses, "everything", put(f"{RESPONSES}/UNAUTHORIZED/{ALLOW_ORIGIN}", "'*'")),
    (api.check_gateway_responses, "everything", put(f"{RESPONSES}/DEFAULT_5XX/{ALLOW_ORIGIN}")),
    (api.check_throttling, "default", put(f"{STAGE}/MethodSettings", [])),
    (
        api.check_throttling,
        "everything",
        put(f"{STAGE}/MethodSettings/Fn::If/1/3/ThrottlingRateLimit"),
    ),
    (
        edge.check_distributions,
        "default",
        put(f"{DISTRIBUTION}/DefaultCacheBehavior/ViewerProtocolPolicy", "allow-all"),
    ),
    (
        edge.check_distributions,
        "default",
        put("OutputsOriginAccessControl/Properties/OriginAccessControlConfig/SigningBehavior", "no-override"),
    ),
    (
        edge.check_distributions,
        "default",
        put(f"{DISTRIBUTION}/Origins/1/CustomOriginConfig/OriginProtocolPolicy", "http-only"),
    ),
    *(
        (edge.check_streams, "default", change)
        for change in (
            put(f"{STREAMS_POLICY}/HeadersConfig/Headers", ["Accept", "authorization"]),
            put(f"{STREAMS_POLICY}/HeadersConfig", {"HeaderBehavior": "allViewer"}),
            put(f"{STREAMS_POLICY}/CookiesConfig/CookieBehavior", "all"),
            put(f"{DISTRIBUTION}/CacheBehaviors/2/OriginRequestPolicyId"),
            put(f"{DISTRIBUTION}/CacheBehaviors/2/Compress", value=True),
            put(f"{DISTRIBUTION}/CacheBehaviors/2/CachePolicyId", "658327ea-f89d-4fab-a63d-7e88639e58f6"),
            put(f"{DISTRIBUTION}/CacheBehaviors/2/AllowedMethods", ["GET", "HEAD", "OPTIONS"]),
            put(f"{DISTRIBUTION}/CacheBehaviors/0/ViewerProtocolPolicy", "allow-all"),
            put(f"{DISTRIBUTION}/Origins/1/CustomOriginConfig/OriginReadTimeout", 60),
            put(f"{DISTRIBUTION}/OriginGroups/Items/0/FailoverCriteria/StatusCodes/Items", [500]),
        )
    ),
    (
        edge.check_private_outputs,
        "everything",
        put(f"{DISTRIBUTION}/DefaultCacheBehavior/TrustedKeyGroups"),
    ),
    (
        edge.check_private_outputs,
        "default",
        put(
            "DataBucketPolicy/Properties/PolicyDocument/Statement/2/Resource/2",
            {"Fn::Sub": "${DataBucket.Arn}/private/*"},
        ),
    ),
    (edge.check_distributions, "everything", put("ApiDomain/Properties/SecurityPolicy", "TLS_1_0")),
    (
        edge.check_networks,
        "everything",
        put("EndpointsSecurityGroup/Properties/SecurityGroupIngress/0", OPEN_INGRESS),
    ),
    (edge.check_networks, "everything", add("Gateway", "EC2::InternetGateway")),
    (edge.check_networks, "everything", put("DaxCluster/Properties/SSESpecification")),
    (edge.check_networks, "everything", put("DaxCluster/Properties/ClusterEndpointEncryptionType", "NONE")),
    (edge.check_firewalls, "everything", put("ApiWebAclAssociation")),
    (edge.check_firewalls, "everything", put("ApiWebAcl/Properties/Rules", [])),
    (edge.check_firewalls, "everything", put("ApiWebAcl/Properties/Rules/1/Priority", 9)),
    (edge.check_firewalls, "everything", put("ApiWebAcl/Properties/Rules/1")),
    (
        edge.check_no_local_settings,
        "default",
        put("TrackFunction/Properties/Environment/Variables/LOCAL_SETTINGS", "{}"),
    ),
    (edge.check_no_local_settings, "default", add("Api0Unauthorized", "ApiGateway::GatewayResponse")),
]


@cache
def _pickle_templates(variant: str) -> bytes:
    """Return the templates as bytes: a copy of them takes a tenth of the time of a deep copy."""
    return pickle.dumps(load_variant(variant).templates)


@pytest.mark.parametrize(("rule", "variant", "mutate"), CASES, ids=lambda part: getattr(part, "__name__", ""))
def test_rule_reports_what_was_broken(rule: Rule, variant: str, mutate: Mutation) -> None:
    templates = pickle.loads(_pickle_templates(variant))  # noqa: S301 - pickled below

    mutate(templates)

    assert rule(Stack(templates, VARIANTS[variant])) != []


def test_every_rule_is_broken_at_least_once() -> None:
    assert {rule.__name__ for rule, _, _ in CASES} == {rule.__name__ for rule in RULES}
