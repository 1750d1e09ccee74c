"""Every optional part is absent until its parameter asks for it, and complete then."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.template.rules.api import body, methods
from tests.template.stack import TEMPLATE, load, target, walk
from tests.template.test_rules import VARIANTS

# What the local AWS cannot make, or what costs by the hour
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


def test_nothing_optional_exists_by_default() -> None:
    stack = load()
    assert [resource.id for kind in _OPTIONAL_TYPES for resource in stack.of(kind)] == []


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_reference_leads_to_a_resource_that_is_not_there(variant: str) -> None:
    stack = load(**VARIANTS[variant])
    declared = set(stack.template["Resources"])
    missing = [
        f"{resource.id}{path} → {target(part)}"
        for resource in stack.resources.values()
        for path, part in walk(resource.properties)
        if isinstance(part, dict) and target(part) in declared - set(stack.resources)
    ]
    assert missing == []


def test_the_firewall_stands_in_front_of_the_stage() -> None:
    stack = load(EnableFirewall="true", FirewallDeniedIpv4="203.0.113.0/24")
    (association,) = stack.of("WAFv2::WebACLAssociation")
    addresses = {one.id: one.properties["Addresses"] for one in stack.of("WAFv2::IPSet")}

    assert target(association.properties["WebACLArn"]) == "ApiWebAcl"
    assert addresses == {
        "AllowedIpv4Set": [],
        "AllowedIpv6Set": [],
        "DeniedIpv4Set": ["203.0.113.0/24"],
        "DeniedIpv6Set": [],
    }
    assert [rule["Name"] for rule in stack.resources["ApiWebAcl"].properties["Rules"]] == [
        "Denied",
        "Rate",
        "AWSManagedRulesAmazonIpReputationList",
        "AWSManagedRulesKnownBadInputsRuleSet",
        "AWSManagedRulesCommonRuleSet",
    ]


def test_an_allow_list_keeps_everybody_else_out_but_for_replicate() -> None:
    stack = load(EnableFirewall="true", FirewallAllowedIpv4="192.0.2.0/24")
    rule = next(
        one for one in stack.resources["ApiWebAcl"].properties["Rules"] if one["Name"] == "NotAllowed"
    )
    refused = [one["NotStatement"]["Statement"] for one in rule["Statement"]["AndStatement"]["Statements"]]

    assert rule["Action"] == {"Block": {}}
    assert refused[-1]["ByteMatchStatement"]["SearchString"] == "/webhooks/replicate"


def test_cloudfront_takes_its_own_web_acl_or_one_made_elsewhere() -> None:
    own = load(EnableOutputsFirewall="true").resources["OutputsDistribution"].properties["DistributionConfig"]
    other = load(OutputsWebAclArn="arn:acl").resources["OutputsDistribution"].properties["DistributionConfig"]
    none = load().resources["OutputsDistribution"].properties["DistributionConfig"]

    assert target(own["WebACLId"]) == "OutputsWebAcl"
    assert other["WebACLId"] == "arn:acl"
    assert "WebACLId" not in none


def test_the_resource_policy_denies_strangers_but_leaves_the_webhook_open() -> None:
    policy = body(load(AllowedCidrs="192.0.2.0/24,2001:db8::/32"))["x-amazon-apigateway-policy"]
    denial = next(statement for statement in policy["Statement"] if statement["Effect"] == "Deny")

    assert denial["Condition"] == {"NotIpAddress": {"aws:SourceIp": ["192.0.2.0/24", "2001:db8::/32"]}}
    assert denial["NotResource"] == "execute-api:/*/POST/webhooks/replicate"
    assert "x-amazon-apigateway-policy" not in body(load())


def test_usage_plans_count_every_authorized_method() -> None:
    def metered(stack: Any) -> int:
        return sum({"api_key": []} in method.get("security", []) for _, _, method in methods(stack))

    (api,) = load().of("ApiGateway::RestApi")
    assert api.properties["ApiKeySourceType"] == "AUTHORIZER"
    assert metered(load()) == 0
    assert metered(load(EnableUsagePlans="true")) > 30


def test_the_cache_is_off_unless_asked_for_and_holds_the_catalog_alone() -> None:
    (off,), (on,) = load().of("ApiGateway::Stage"), load(EnableResponseCache="true").of("ApiGateway::Stage")
    cached = [one["ResourcePath"] for one in on.properties["MethodSettings"] if one.get("CachingEnabled")]

    assert off.properties["CacheClusterEnabled"] is False
    assert on.properties["CacheClusterEnabled"] is True
    assert not [path for path in cached if "predictions" in path or "files" in path or "admin" in path]
    assert len(cached) == 11


def test_access_logs_name_the_caller_and_carry_no_credential() -> None:
    (stage,) = load(EnableAccessLogs="true").of("ApiGateway::Stage")
    line = stage.properties["AccessLogSetting"]["Format"]

    assert "$context.authorizer.tenant" in line
    assert "authorization" not in line.lower()
    assert "AccessLogSetting" not in load().of("ApiGateway::Stage")[0].properties


def test_functions_that_call_nothing_but_aws_join_the_network() -> None:
    stack = load(EnableVpc="true")
    inside = {one.id for one in stack.of("Lambda::Function") if "VpcConfig" in one.properties}
    services = {
        one.properties["ServiceName"]["Fn::Sub"].rsplit(".", 1)[-1] for one in stack.of("EC2::VPCEndpoint")
    }

    assert inside == {"IngestFunction", "QueryFunction", "WebhookFunction", "TrackFunction"}
    assert services == {"s3", "dynamodb", "sqs", "events", "ssm", "secretsmanager"}
    assert not [one.id for one in load().of("Lambda::Function") if "VpcConfig" in one.properties]


def test_dax_serves_query_alone_and_only_within_the_network() -> None:
    stack = load(EnableVpc="true", EnableDax="true", DaxTtlMilliseconds="500")
    told = {
        one.id
        for one in stack.of("Lambda::Function")
        if "DAX_ENDPOINT" in one.properties["Environment"]["Variables"]
    }
    (parameters,) = stack.of("DAX::ParameterGroup")

    assert told == {"QueryFunction"}
    assert parameters.properties["ParameterNameValues"]["record-ttl-millis"] == "500"
    assert load(EnableDax="true").of("DAX::Cluster") == []


def test_pages_of_a_listed_origin_read_the_gateways_refusals() -> None:
    def readers(origins: str) -> set[str | None]:
        answers = body(load(CorsAllowedOrigins=origins))["x-amazon-apigateway-gateway-responses"].values()
        header = "gatewayresponse.header.Access-Control-Allow-Origin"
        return {answer["responseParameters"].get(header) for answer in answers}

    assert readers("") == {None}
    assert readers("https://app.example.com") == {"'https://app.example.com'"}
    assert readers("https://app.example.com,https://admin.example.com") == {"'*'"}


def test_functions_are_given_every_listed_origin() -> None:
    listed = "https://app.example.com,https://admin.example.com"
    given = {
        one.properties["Environment"]["Variables"].get("CORS_ALLOWED_ORIGINS")
        for one in load(CorsAllowedOrigins=listed).of("Lambda::Function")
    }
    assert given == {None, listed}


def test_the_webhook_secret_is_renewed_only_where_replicate_calls_back() -> None:
    def state(**parameters: str) -> str:
        return str(
            load(**parameters)
            .resources["AdminFunctionRefreshWebhookSecret"]
            .properties.get("State", "ENABLED")
        )

    assert state() == "ENABLED"
    assert state(EnableReplicateWebhooks="false") == "DISABLED"


def test_who_cannot_be_checked_raises_an_alarm_and_who_is_refused_does_not() -> None:
    alarms = load().of("CloudWatch::Alarm")
    watched = {alarm.properties.get("MetricName") for alarm in alarms}
    summed = {
        target(part["Value"])
        for alarm in alarms
        for _, part in walk(alarm.properties.get("Metrics", []))
        if isinstance(part, dict) and part.get("Name") == "FunctionName"
        if alarm.id == "ApiFunctionErrorsAlarm"
    }

    assert {"AuthFromStaleCache", "AuthUnavailable", "5XXError"} <= watched
    assert "IngestFunction" in summed
    assert "AuthorizeFunction" not in summed  # its 401s are exceptions, as API Gateway wants them


def test_every_alarm_has_a_line_in_the_runbook() -> None:
    told = (TEMPLATE.parent / "docs" / "operations.md").read_text(encoding="utf-8")
    alarms = {alarm.id for alarm in load(**VARIANTS["everything"]).of("CloudWatch::Alarm")}

    assert sorted(name for name in alarms if f"`{name}`" not in told) == []


def test_there_is_no_dashboard_where_none_is_wanted() -> None:
    assert load().of("CloudWatch::Dashboard")
    assert not load(EnableDashboard="false").of("CloudWatch::Dashboard")


def test_costs_are_watched_by_parameter() -> None:
    stack = load(CostAnomalyAlarmDollars="50", UseCustomerManagedKey="true")
    (monitor,) = stack.of("CE::AnomalyMonitor")
    (subscription,) = stack.of("CE::AnomalySubscription")
    watched = json.loads(monitor.properties["MonitorSpecification"]["Fn::Sub"])
    policy = stack.resources["AlarmTopicPolicy"].properties["PolicyDocument"]["Statement"]
    key = stack.resources["DataKey"].properties["KeyPolicy"]["Statement"]

    assert watched["Tags"]["Values"] == ["${AWS::StackName}"]
    assert target(subscription.properties["MonitorArnList"][0]) == monitor.id
    assert json.loads(subscription.properties["ThresholdExpression"]["Fn::Sub"])["Dimensions"]["Values"] == [
        "${CostAnomalyAlarmDollars}"
    ]
    for statements in (policy, key):
        assert any("costalerts.amazonaws.com" in one["Principal"].get("Service", []) for one in statements)


def test_size_is_watched_unless_told_otherwise() -> None:
    alarm = load(StorageAlarmGigabytes="20").resources["StorageAlarm"]

    assert alarm.properties["Threshold"] == "20"
    assert "StorageAlarm" not in load(StorageAlarmGigabytes="0").resources


def test_uploads_are_accelerated_by_parameter() -> None:
    on, off = load(EnableTransferAcceleration="true"), load()

    assert on.resources["DataBucket"].properties["AccelerateConfiguration"] == {
        "AccelerationStatus": "Enabled"
    }
    assert (
        on.resources["FilesFunction"].properties["Environment"]["Variables"]["UPLOAD_ACCELERATION"] == "true"
    )
    assert "AccelerateConfiguration" not in off.resources["DataBucket"].properties


def test_outputs_stay_for_ever_unless_given_days() -> None:
    def days(**parameters: str) -> list[Any]:
        rules = load(**parameters).resources["DataBucket"].properties["LifecycleConfiguration"]["Rules"]
        return [
            rule.get("ExpirationInDays") for rule in rules if rule.get("Prefix") in {"outputs/", "originals/"}
        ]

    assert days() == [None, None]
    assert days(OutputRetentionDays="90") == ["90", "90"]


def test_the_local_stack_has_a_stable_address_and_readable_refusals() -> None:
    stack = load(**VARIANTS["local"])
    (domain,) = stack.of("ApiGateway::DomainName")
    settings = {
        one.properties["Environment"]["Variables"]["LOCAL_SETTINGS"] for one in stack.of("Lambda::Function")
    }

    assert domain.properties["DomainName"] == "127.0.0.1"
    assert settings == {'{"allow_loopback": true}'}
    # made before the deployment, which takes them in, only if their names sort before its own
    assert all(one.id < "ApiDeployment" for one in stack.of("ApiGateway::GatewayResponse"))
