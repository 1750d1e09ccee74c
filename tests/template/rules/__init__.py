"""Rules that the templates must keep. A rule takes a stack and returns one line for each violation."""

from __future__ import annotations

from collections.abc import Callable

from tests.template.rules import api, data, deployment, edge, functions, messaging, monitoring, permissions
from tools.template.stack import Stack

type Rule = Callable[[Stack], list[str]]

RULES: tuple[Rule, ...] = (
    messaging.check_no_orphan_queues,
    messaging.check_queue_consumers,
    messaging.check_stream_consumers,
    messaging.check_event_targets,
    messaging.check_policies_of_queues_and_topics,
    messaging.check_asynchronous_invocations,
    messaging.check_redrives_of_invocations,
    messaging.check_dead_letter_alarms,
    messaging.check_queue_age_alarms,
    functions.check_log_groups,
    functions.check_roles_not_shared,
    functions.check_tracing_and_limits,
    functions.check_no_secrets_in_environment,
    functions.check_invoke_permissions,
    functions.check_no_reserved_concurrency,
    permissions.check_no_wildcard_actions,
    permissions.check_wildcard_resources,
    permissions.check_function_permissions,
    permissions.check_network_interfaces,
    permissions.check_aws_managed_policies,
    data.check_tables,
    data.check_buckets,
    data.check_bucket_policies,
    data.check_queue_encryption,
    data.check_customer_managed_key,
    api.check_authorization,
    api.check_request_validation,
    api.check_cache_keys,
    api.check_gateway_responses,
    api.check_throttling,
    api.check_resource_policy,
    deployment.check_names,
    deployment.check_every_named_type_has_a_limit,
    deployment.check_retained_resources,
    deployment.check_logging_role,
    deployment.check_order_of_tables,
    deployment.check_no_cycles,
    deployment.check_deployments,
    edge.check_distributions,
    edge.check_streams,
    edge.check_private_outputs,
    edge.check_networks,
    edge.check_firewalls,
    edge.check_no_local_settings,
    monitoring.check_alarm_actions,
    monitoring.check_alarm_limits,
    monitoring.check_missing_data,
    monitoring.check_schedules,
    monitoring.check_metrics,
    monitoring.check_dashboard,
)
