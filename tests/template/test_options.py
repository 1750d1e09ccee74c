"""Every optional part is absent until its parameter asks for it, and complete then."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.template.metric_math import list_metrics
from tests.template.rules.api import get_definition, iterate_methods
from tests.template.variants import PUBLIC_KEY, VARIANTS, load_variant
from tools.template.stack import ROOT, Stack, iterate_parts, load_stack, referenced_id

# Types that cost by the hour or that the local AWS cannot create.
_OPTIONAL_TYPES = (
    "ApiGateway::Account",
    "ApiGateway::DomainName",
    "ApiGateway::GatewayResponse",
    "CE::AnomalyMonitor",
    "CE::AnomalySubscription",
    "CodeDeploy::Application",
    "DAX::Cluster",
    "DAX::ParameterGroup",
    "DAX::SubnetGroup",
    "EC2::SecurityGroup",
    "EC2::Subnet",
    "EC2::VPC",
    "EC2::VPCEndpoint",
    "Events::Archive",
    "KMS::Key",
    "SNS::Subscription",
    "WAFv2::IPSet",
    "WAFv2::WebACL",
    "WAFv2::WebACLAssociation",
)


def test_optional_resources_do_not_exist_by_default() -> None:
    stack = load_stack()

    assert [resource.id for kind in _OPTIONAL_TYPES for resource in stack.of_type(kind)] == []


def test_local_stack_has_no_nested_stacks() -> None:
    assert load_variant("local").of_type("CloudFormation::Stack") == []


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_reference_leads_to_an_existing_resource(variant: str) -> None:
    stack = load_variant(variant)
    absent = stack.declared_ids - set(stack.resources)
    dangling = [
        f"{resource.id}{path} → {referenced_id(part)}"
        for resource in stack.resources.values()
        for path, part in iterate_parts(resource.properties)
        if referenced_id(part) in absent
    ]

    assert dangling == []


def test_firewall_protects_the_stage_of_the_api() -> None:
    stack = load_stack(EnableFirewall="true", FirewallDeniedIpv4="203.0.113.0/24")
    (association,) = stack.of_type("WAFv2::WebACLAssociation")
    addresses = {ip_set.id: ip_set.properties["Addresses"] for ip_set in stack.of_type("WAFv2::IPSet")}

    assert referenced_id(association.properties["WebACLArn"]) == "ApiWebAcl"
    assert addresses == {
        "AllowedIpv4Set": [],
        "AllowedIpv6Set": [],
        "DeniedIpv4Set": ["203.0.113.0/24"],
        "DeniedIpv6Set": [],
    }
    assert [rule["Name"] for rule in stack.resources["ApiWebAcl"].properties["Rules"]] == [
        "Denied",
        "FromReplicate",
        "Rate",
        "AWSManagedRulesAmazonIpReputationList",
        "AWSManagedRulesKnownBadInputsRuleSet",
        "AWSManagedRulesCommonRuleSet",
    ]


def test_firewall_blocks_addresses_not_on_the_allow_list() -> None:
    stack = load_stack(EnableFirewall="true", FirewallAllowedIpv4="192.0.2.0/24")
    rule = next(
        rule for rule in stack.resources["ApiWebAcl"].properties["Rules"] if rule["Name"] == "NotAllowed"
    )
    negated = [
        referenced_id(statement["NotStatement"]["Statement"]["IPSetReferenceStatement"]["Arn"])
        for statement in rule["Statement"]["AndStatement"]["Statements"]
    ]

    assert rule["Action"] == {"Block": {}}
    assert negated == ["AllowedIpv4Set", "AllowedIpv6Set"]


@pytest.mark.parametrize(
    ("method", "path", "passes"),
    [
        ("POST", "/prod/webhooks/replicate", True),
        ("POST", "/webhooks/replicate", True),
        ("GET", f"/prod/v1/files/{'0' * 26}/download", True),
        ("GET", f"/v1/files/{'0' * 26}/download", True),
        ("HEAD", f"/v1/files/{'0' * 26}/download", True),
        ("HEAD", "/v1/predictions", False),
        ("GET", "/prod/webhooks/replicate", False),
        ("POST", "/prod/v1/webhooks/replicate", False),
        ("POST", "/v1/webhooks/replicate", False),
        ("POST", "/prod/admin/webhooks/replicate", False),
        ("GET", f"/prod/v1/files/{'0' * 26}", False),
        ("DELETE", f"/prod/v1/files/{'0' * 26}/download", False),
        ("GET", "/prod/v1/files/x/y/download", False),
    ],
)
def test_firewall_lets_only_requests_of_replicate_pass(method: str, path: str, *, passes: bool) -> None:
    stack = load_stack(EnableFirewall="true")
    rule = next(
        rule for rule in stack.resources["ApiWebAcl"].properties["Rules"] if rule["Name"] == "FromReplicate"
    )
    matches = [
        _matches(statements["AndStatement"]["Statements"][0], method)
        and _matches(statements["AndStatement"]["Statements"][1], path)
        for statements in rule["Statement"]["OrStatement"]["Statements"]
    ]

    assert any(matches) == passes


def _matches(statement: dict[str, Any], text: str) -> bool:
    if "ByteMatchStatement" in statement:
        return bool(statement["ByteMatchStatement"]["SearchString"] == text)
    return re.search(statement["RegexMatchStatement"]["RegexString"], text) is not None


def test_distribution_has_its_own_web_acl_or_a_given_one_or_none() -> None:
    def get_web_acl(**parameters: str) -> Any:
        distribution = load_stack(**parameters).resources["OutputsDistribution"]
        return distribution.properties["DistributionConfig"].get("WebACLId")

    assert referenced_id(get_web_acl(EnableOutputsFirewall="true")) == "OutputsWebAcl"
    assert get_web_acl(OutputsWebAclArn="arn:acl") == "arn:acl"
    assert get_web_acl() is None


def test_resource_policy_denies_other_addresses() -> None:
    stack = load_stack(AllowedCidrs="192.0.2.0/24,2001:db8::/32")
    policy = get_definition(stack)["x-amazon-apigateway-policy"]
    denial = next(statement for statement in policy["Statement"] if statement["Effect"] == "Deny")

    assert denial["Condition"] == {"NotIpAddress": {"aws:SourceIp": ["192.0.2.0/24", "2001:db8::/32"]}}
    default = get_definition(load_stack())["x-amazon-apigateway-policy"]
    assert [statement["Effect"] for statement in default["Statement"]] == ["Allow"]


def test_usage_plans_count_every_authorized_method() -> None:
    def count_metered(**parameters: str) -> int:
        methods = iterate_methods(load_stack(**parameters))
        return sum({"api_key": []} in method.get("security", []) for _, _, method in methods)

    (api,) = load_stack().of_type("ApiGateway::RestApi")
    assert api.properties["ApiKeySourceType"] == "AUTHORIZER"
    assert count_metered() == 0
    assert count_metered(EnableUsagePlans="true") > 30


def test_response_cache_is_off_by_default_and_holds_the_catalog_only() -> None:
    (default,) = load_stack().of_type("ApiGateway::Stage")
    (caching,) = load_stack(EnableResponseCache="true").of_type("ApiGateway::Stage")
    settings = caching.properties["MethodSettings"]
    cached = [setting["ResourcePath"] for setting in settings if setting.get("CachingEnabled")]

    assert default.properties["CacheClusterEnabled"] is False
    assert caching.properties["CacheClusterEnabled"] is True
    assert not [path for path in cached if "predictions" in path or "files" in path or "admin" in path]
    assert len(cached) == 11


def test_api_timeout_is_raised_for_requests_that_wait_only() -> None:
    for stack, timeout, seconds in (
        (load_stack(), None, 29),
        (load_stack(ApiTimeoutSeconds="60"), 60_000, 60),
    ):
        (api,) = stack.of_type("ApiGateway::RestApi")
        timeouts = {
            (method, path): operation["x-amazon-apigateway-integration"].get("timeoutInMillis")
            for path, operations in api.properties["Body"]["paths"].items()
            for method, operation in operations.items()
            if "x-amazon-apigateway-integration" in operation
        }
        raised = {route for route, value in timeouts.items() if value is not None}
        creates = {
            ("post", "/"),
            ("post", "/v1/predictions"),
            ("post", "/v1/models/{owner}/{name}/predictions"),
            ("post", "/v1/deployments/{owner}/{name}/predictions"),
        }
        assert raised == (creates if timeout else set())
        assert {timeouts[route] for route in creates} == {timeout}
        ingest = stack.resources["IngestFunction"].properties
        assert int(ingest["Timeout"]) == seconds
        assert int(ingest["Environment"]["Variables"]["API_TIMEOUT_SECONDS"]) == seconds


def test_access_log_names_the_tenant_and_contains_no_credential() -> None:
    (stage,) = load_stack(EnableAccessLogs="true").of_type("ApiGateway::Stage")
    log_format = stage.properties["AccessLogSetting"]["Format"]

    assert "$context.authorizer.tenant" in log_format
    assert "authorization" not in log_format.lower()
    assert "AccessLogSetting" not in load_stack().of_type("ApiGateway::Stage")[0].properties


def test_functions_that_call_only_aws_join_the_vpc() -> None:
    stack = load_stack(EnableVpc="true")
    inside = {
        function.id for function in stack.of_type("Lambda::Function") if "VpcConfig" in function.properties
    }
    services = {
        endpoint.properties["ServiceName"].rsplit(".", 1)[-1]
        for endpoint in stack.of_type("EC2::VPCEndpoint")
    }

    assert inside == {
        "BatchFunction",
        "IngestFunction",
        "QueryFunction",
        "WebhookFunction",
        "TrackFunction",
    }
    assert services == {"s3", "dynamodb", "sqs", "events", "ssm", "secretsmanager"}
    assert not [
        function.id
        for function in load_stack().of_type("Lambda::Function")
        if "VpcConfig" in function.properties
    ]


def test_subnets_are_in_the_given_zones() -> None:
    def get_zones(**parameters: str) -> list[Any]:
        subnets = load_stack(EnableVpc="true", **parameters).of_type("EC2::Subnet")
        return [subnet.properties["AvailabilityZone"] for subnet in subnets]

    assert get_zones(AvailabilityZones="us-east-1c,us-east-1d") == ["us-east-1c", "us-east-1d"]
    assert get_zones() == [{"Fn::Select": [index, {"Fn::GetAZs": ""}]} for index in (0, 1)]


def test_dax_serves_query_only_and_needs_the_vpc() -> None:
    stack = load_stack(EnableVpc="true", EnableDax="true", DaxTtlMilliseconds="500")
    users = {
        function.id
        for function in stack.of_type("Lambda::Function")
        if "DAX_ENDPOINT" in function.properties["Environment"]["Variables"]
    }
    (parameters,) = stack.of_type("DAX::ParameterGroup")

    assert users == {"QueryFunction"}
    assert parameters.properties["ParameterNameValues"]["record-ttl-millis"] == "500"
    assert load_stack(EnableDax="true").of_type("DAX::Cluster") == []


def test_gateway_responses_allow_the_listed_origins() -> None:
    def get_allowed_origins(origins: str) -> set[str | None]:
        definition = get_definition(load_stack(CorsAllowedOrigins=origins))
        header = "gatewayresponse.header.Access-Control-Allow-Origin"
        return {
            response["responseParameters"].get(header)
            for response in definition["x-amazon-apigateway-gateway-responses"].values()
        }

    assert get_allowed_origins("") == {None}
    assert get_allowed_origins("https://app.example.com") == {"'https://app.example.com'"}
    assert get_allowed_origins("https://app.example.com,https://admin.example.com") == {"'*'"}


def test_functions_receive_every_listed_origin() -> None:
    origins = "https://app.example.com,https://admin.example.com"
    received = {
        function.properties["Environment"]["Variables"].get("CORS_ALLOWED_ORIGINS")
        for function in load_stack(CorsAllowedOrigins=origins).of_type("Lambda::Function")
    }

    assert received == {None, origins}


def test_webhook_secret_is_refreshed_only_where_replicate_sends_webhooks() -> None:
    def get_state(**parameters: str) -> str:
        rule = load_stack(**parameters).resources["AdminFunctionRefreshWebhookSecret"]
        return str(rule.properties.get("State", "ENABLED"))

    assert get_state() == "ENABLED"
    assert get_state(EnableReplicateWebhooks="false") == "DISABLED"


def test_failing_authentication_raises_an_alarm_and_rejected_callers_do_not() -> None:
    alarms = load_variant("everything").of_type("CloudWatch::Alarm")
    metrics = {alarm.properties.get("MetricName") for alarm in alarms}
    functions_with_error_alarm = {
        part["Value"]
        for alarm in alarms
        for _, part in iterate_parts(alarm.properties.get("Metrics", []))
        if isinstance(part, dict) and part.get("Name") == "FunctionName"
    }

    assert {"AuthFromStaleCache", "AuthUnavailable", "5XXError"} <= metrics
    assert "replicate-proxy-dispatch" in functions_with_error_alarm
    # API Gateway wants an exception for each 401.
    assert "replicate-proxy-authorize" not in functions_with_error_alarm


def test_every_alarm_is_in_the_runbook() -> None:
    runbook = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    alarms = {alarm.id for alarm in load_variant("everything").of_type("CloudWatch::Alarm")}

    assert sorted(name for name in alarms if f"`{name}`" not in runbook) == []


def test_alarm_is_named_after_the_stack_and_its_row_in_the_runbook() -> None:
    for alarm in load_variant("everything").of_type("CloudWatch::Alarm"):
        assert alarm.properties["AlarmName"] == f"replicate-proxy-{alarm.id}"


def test_dashboard_and_alarms_that_explain_others_exist_where_details_are_on() -> None:
    default = load_stack()
    detailed = load_stack(EnableDetailedMonitoring="true")

    assert not default.of_type("CloudWatch::Dashboard")
    assert detailed.of_type("CloudWatch::Dashboard")
    assert list_alarms(detailed) - list_alarms(default) == {
        "AuthFromStaleCacheAlarm",
        "BatchDispatchStoppedAlarm",
        "BatchOrDeletionFailedAlarm",
        "FunctionThrottlesAlarm",
        "HarvestLatencyAlarm",
        "NotifyLagAlarm",
        "QueueLatencyAlarm",
        "ReadLatencyAlarm",
        "StorageAlarm",
        "UsageStoppedAlarm",
        "WebhooksMissingAlarm",
        "WorkerFunctionErrorsAlarm",
    }


@pytest.mark.parametrize(("enabled", "threshold"), [("true", 0), ("false", 1)])
def test_missing_webhooks_are_no_alarm_where_replicate_sends_none(enabled: str, threshold: int) -> None:
    stack = load_stack(EnableDetailedMonitoring="true", EnableReplicateWebhooks=enabled)

    assert int(stack.resources["WebhooksMissingAlarm"].properties["Threshold"]) == threshold


def list_alarms(stack: Stack) -> set[str]:
    return {alarm.id for alarm in stack.of_type("CloudWatch::Alarm")}


def test_default_alarms_watch_few_metrics() -> None:
    """Each costs $0.10 a month, also while the service is idle; a band of anomaly detection counts as two."""
    alarms = load_stack().of_type("CloudWatch::Alarm")
    watched = sum(len(list_metrics(alarm)) for alarm in alarms)
    bands = sum("ThresholdMetricId" in alarm.properties for alarm in alarms)

    assert watched + 2 * bands == 30
    assert f"{len(alarms)} alarms, over 30 metrics" in (ROOT / "docs" / "costs.md").read_text(
        encoding="utf-8"
    )


def test_monitoring_exists_unless_switched_off() -> None:
    stack = load_stack(  # which CloudFormation rejects
        EnableMonitoring="false", EnableDetailedMonitoring="true", CostAnomalyAlarmDollars="50"
    )

    for kind in ("CloudWatch::Alarm", "CloudWatch::Dashboard", "CE::AnomalyMonitor", "SNS::Topic"):
        assert load_variant("everything").of_type(kind)
        assert not stack.of_type(kind)


def test_cost_anomalies_raise_an_alarm_where_dollars_are_set() -> None:
    stack = load_stack(CostAnomalyAlarmDollars="50", UseCustomerManagedKey="true")
    (monitor,) = stack.of_type("CE::AnomalyMonitor")
    (subscription,) = stack.of_type("CE::AnomalySubscription")
    specification = json.loads(monitor.properties["MonitorSpecification"])
    threshold = json.loads(subscription.properties["ThresholdExpression"])
    policy = stack.resources["AlarmTopicPolicy"].properties["PolicyDocument"]["Statement"]
    key_policy = stack.resources["DataKey"].properties["KeyPolicy"]["Statement"]

    # Resources have the tag of the stack that they are nested in.
    assert specification["Tags"]["Values"] == ["replicate-proxy", "replicate-proxy-MonitoringStack"]
    assert referenced_id(subscription.properties["MonitorArnList"][0]) == monitor.id
    assert threshold["Dimensions"]["Values"] == ["50"]
    for statements in (policy, key_policy):
        assert any(
            "costalerts.amazonaws.com" in statement["Principal"].get("Service", [])
            for statement in statements
        )


def test_cost_anomalies_include_all_nested_stacks() -> None:
    stack = load_variant("everything")
    (monitor,) = stack.of_type("CE::AnomalyMonitor")
    watched = json.loads(monitor.properties["MonitorSpecification"])["Tags"]["Values"]
    nested = {f"replicate-proxy-{resource.id}" for resource in stack.of_type("CloudFormation::Stack")}

    assert nested == {f"replicate-proxy-{name}Stack" for name in ("Firewall", "Monitoring", "Network")}
    assert set(watched) == {"replicate-proxy", *nested}


def test_storage_alarm_exists_unless_its_limit_is_0() -> None:
    alarm = load_stack(EnableDetailedMonitoring="true", StorageAlarmGigabytes="20").resources["StorageAlarm"]

    assert alarm.properties["Threshold"] == "20"
    assert (
        "StorageAlarm" not in load_stack(EnableDetailedMonitoring="true", StorageAlarmGigabytes="0").resources
    )


def test_browsers_of_listed_origins_may_upload_to_the_bucket() -> None:
    origins = "https://app.example.com,https://admin.example.com"
    bucket = load_stack(CorsAllowedOrigins=origins).resources["DataBucket"]
    (rule,) = bucket.properties["CorsConfiguration"]["CorsRules"]

    assert rule["AllowedOrigins"] == origins.split(",")
    assert rule["AllowedMethods"] == ["POST", "PUT"]
    assert "CorsConfiguration" not in load_stack().resources["DataBucket"].properties


def test_uploads_are_accelerated_where_asked_for() -> None:
    accelerated, default = load_stack(EnableTransferAcceleration="true"), load_stack()
    configuration = accelerated.resources["DataBucket"].properties["AccelerateConfiguration"]
    variables = accelerated.resources["FilesFunction"].properties["Environment"]["Variables"]

    assert configuration == {"AccelerationStatus": "Enabled"}
    assert variables["ENABLE_TRANSFER_ACCELERATION"] == "true"
    assert "AccelerateConfiguration" not in default.resources["DataBucket"].properties


def test_outputs_expire_only_where_days_are_set() -> None:
    def get_expirations(**parameters: str) -> list[Any]:
        bucket = load_stack(**parameters).resources["DataBucket"]
        return [
            rule.get("ExpirationInDays")
            for rule in bucket.properties["LifecycleConfiguration"]["Rules"]
            if rule.get("Prefix") in {"outputs/", "originals/", "thumbs/", "private/"}
        ]

    assert get_expirations() == [None, None, None]
    assert get_expirations(OutputRetentionDays="90") == ["90", "90", "90", "90"]


def test_urls_are_signed_with_the_chosen_key_and_both_keys_are_accepted() -> None:
    def get_variables(**parameters: str) -> dict[str, Any]:
        function = load_stack(**parameters).resources["QueryFunction"]
        variables = function.properties["Environment"]["Variables"]
        return {name: value for name, value in variables.items() if name.startswith("PRIVATE_OUTPUTS_")}

    first, second = PUBLIC_KEY, PUBLIC_KEY.replace("MFkw", "MFkx")
    both = {"PrivateOutputsPublicKey1": first, "PrivateOutputsPublicKey2": second}
    group = load_stack(**both).resources["PrivateOutputsKeyGroup"].properties["KeyGroupConfig"]

    assert group["Items"] == [{"Ref": "PrivateOutputsKey1"}, {"Ref": "PrivateOutputsKey2"}]
    assert get_variables(**both) == {
        "PRIVATE_OUTPUTS_KEY_ID": {"Ref": "PrivateOutputsKey1"},
        "PRIVATE_OUTPUTS_PUBLIC_KEY": first,
        "PRIVATE_OUTPUTS_KEY_PARAMETER": "/replicate-proxy/prod/private-outputs-key-1",
    }
    assert get_variables(**both, PrivateOutputsSigningKey="2") == {
        "PRIVATE_OUTPUTS_KEY_ID": {"Ref": "PrivateOutputsKey2"},
        "PRIVATE_OUTPUTS_PUBLIC_KEY": second,
        "PRIVATE_OUTPUTS_KEY_PARAMETER": "/replicate-proxy/prod/private-outputs-key-2",
    }


def test_default_has_no_key_of_signed_urls() -> None:
    stack = load_stack()
    variables = stack.resources["QueryFunction"].properties["Environment"]["Variables"]

    assert stack.of_type("CloudFront::KeyGroup") == stack.of_type("CloudFront::PublicKey") == []
    assert (variables["PRIVATE_OUTPUTS_KEY_ID"], variables["PRIVATE_OUTPUTS_PUBLIC_KEY"]) == ("", "")


def test_urls_name_the_custom_domains_unless_another_url_is_set() -> None:
    domains = {"ApiDomainName": "api.example.com", "OutputsDomainName": "files.example.com"}

    def get_urls(**parameters: str) -> set[Any]:
        stack = load_stack(**parameters)
        functions = {
            name: stack.resources[f"{name}Function"].properties["Environment"]["Variables"]
            for name in ("Dispatch", "Sweep", "Harvest")
        }
        return {
            functions["Dispatch"]["WEBHOOK_BASE_URL"],
            functions["Sweep"]["WEBHOOK_BASE_URL"],
            stack.get_output("ApiUrl"),
            functions["Harvest"]["OUTPUTS_BASE_URL"],
        }

    assert get_urls(**domains) == {"https://api.example.com", "https://files.example.com"}
    assert get_urls(
        **domains, PublicBaseUrl="https://proxy.example", OutputsBaseUrl="https://proxy.example"
    ) == {"https://proxy.example"}


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"EnableDax": "true"}, "EnableVpc"),
        ({"ApiDomainName": "api.example.com"}, "ApiCertificateArn"),
        ({"OutputsDomainName": "files.example.com"}, "OutputsCertificateArn"),
        ({"JwtIssuer": "https://id.example.com"}, "JwtAudience"),
        ({"PrivateOutputsSigningKey": "2"}, "PrivateOutputsPublicKey2"),
        ({"PrivateOutputsPublicKey2": PUBLIC_KEY}, "PrivateOutputsPublicKey1"),
        ({"EnableMonitoring": "false", "AlarmEmail": "ops@example.com"}, "EnableMonitoring"),
        ({"EnableMonitoring": "false", "CostAnomalyAlarmDollars": "50"}, "EnableMonitoring"),
        ({"EnableMonitoring": "false", "EnableDetailedMonitoring": "true"}, "EnableMonitoring"),
        ({"EnableOutputsFirewall": "true", "OutputsWebAclArn": "arn:acl"}, "OutputsWebAclArn"),
        ({"ApiCertificateArn": "arn:certificate"}, "ApiDomainName"),
        ({"OutputsCertificateArn": "arn:certificate"}, "OutputsDomainName"),
        ({"JwtAudience": "proxy"}, "JwtIssuer"),
        ({"JwksUrl": "https://id.example.com/keys"}, "JwtIssuer"),
        ({"FirewallAllowedIpv4": "192.0.2.0/24,198.51.100.0/24"}, "EnableFirewall"),
        ({"FirewallAllowedIpv6": "2001:db8::/32"}, "EnableFirewall"),
        ({"FirewallDeniedIpv4": "192.0.2.0/24"}, "EnableFirewall"),
        ({"FirewallDeniedIpv6": "2001:db8::/32"}, "EnableFirewall"),
        ({"AvailabilityZones": "us-east-1c,us-east-1d"}, "EnableVpc"),
    ],
)
def test_parameter_is_rejected_without_the_one_that_it_needs(parameters: dict[str, str], reason: str) -> None:
    (broken,) = load_stack(**parameters).broken_rules

    assert reason in broken


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_keep_the_rules_between_parameters(variant: str) -> None:
    assert load_variant(variant).broken_rules == []


@pytest.mark.parametrize("partition", ["aws-us-gov", "aws-cn"])
def test_regions_of_other_partitions_are_rejected(monkeypatch: pytest.MonkeyPatch, partition: str) -> None:
    assert load_stack().broken_rules == []
    monkeypatch.setattr("tools.template.stack.PARTITION", partition)
    (broken,) = load_stack().broken_rules

    assert "GovCloud and China" in broken
