"""The settings of the functions: one environment variable each.

The template sets all of them except those that are local only. `.venv/bin/python -m tools.docs.settings`
writes the reference page docs/settings.md; tests/template/test_settings.py compares settings, code, template
and page.
"""

from __future__ import annotations

from replicate_proxy.config import (
    Setting,
    parse_boolean,
    parse_integer,
    parse_integers,
    parse_list,
    parse_number,
    parse_numbers,
    parse_text,
)

_OPERATORS = ("admin", "console")
_SIGNERS = ("ingest", "dispatch", "harvest", "sweep")
_JOB_WRITERS = ("ingest", "dispatch", "track", "harvest", "sweep")


def _required_text(name: str, functions: tuple[str, ...], description: str) -> Setting[str]:
    return Setting(name, parse_text, "", functions, description, required=True)


def _text(name: str, default: str, functions: tuple[str, ...], description: str) -> Setting[str]:
    return Setting(name, parse_text, default, functions, description)


def _number(
    name: str,
    default: float,
    functions: tuple[str, ...],
    description: str,
    unit: str = "seconds",
    *,
    local_only: bool = False,
    min_on_aws: float | None = None,
) -> Setting[float]:
    return Setting(
        name,
        parse_number,
        default,
        functions,
        description,
        unit,
        local_only=local_only,
        min_on_aws=min_on_aws,
    )


def _integer(
    name: str,
    default: int,
    functions: tuple[str, ...],
    description: str,
    unit: str = "",
    *,
    local_only: bool = False,
) -> Setting[int]:
    return Setting(name, parse_integer, default, functions, description, unit, local_only=local_only)


def _boolean(name: str, functions: tuple[str, ...], description: str, *, default: bool) -> Setting[bool]:
    return Setting(name, parse_boolean, default, functions, description)


# Storage
REPLICATE_PROXY_TABLE = _required_text(
    "REPLICATE_PROXY_TABLE",
    (*_JOB_WRITERS, "admin", "batch", "console", "notify", "query"),
    "Table of jobs, batches and idempotency keys",
)
ACCESS_TABLE = _required_text(
    "ACCESS_TABLE",
    ("admin", "authorize", "console", "files", "harvest", "ingest"),
    "Table of API keys, tenants and file records",
)
DELIVERIES_TABLE = _required_text(
    "DELIVERIES_TABLE",
    ("admin", "batch", "console", "deliver", "dispatch", "endpoints", "notify", "sweep"),
    "Table of webhook endpoints, events and deliveries",
)
CONTROL_TABLE = _required_text(
    "CONTROL_TABLE",
    ("admin", "batch", "catalog", "console", "deliver", "dispatch", "ingest", "notify", "query", "sweep"),
    "Table of what functions share: breakers, rate limits, leases, pauses, limits, model entries, accounts",
)
USAGE_TABLE = _required_text(
    "USAGE_TABLE",
    ("admin", "batch", "console", "ingest", "query", "sweep", "usage"),
    "Table of usage and budgets",
)
AUDIT_TABLE = _required_text("AUDIT_TABLE", ("admin", "console"), "Table of the audit trail")
IMAGES_BUCKET = _required_text(
    "IMAGES_BUCKET",
    (*_JOB_WRITERS, "admin", "batch", "console", "deliver", "files", "notify", "query", "webhook"),
    "Bucket of output files, uploaded files and large JSON documents",
)
KMS_KEY_ID = _text(
    "KMS_KEY_ID",
    "",
    ("admin", "console", "harvest"),
    "Customer managed key that encrypts output files, webhook secrets and tenants' tokens",
)
DAX_ENDPOINT = _text(
    "DAX_ENDPOINT", "", ("query",), "Discovery endpoint of the DAX cluster; none without DAX"
)
DAX_MAX_STALENESS_MILLISECONDS = _integer(
    "DAX_MAX_STALENESS_MILLISECONDS",
    1000,
    ("query",),
    "Longest staleness of reads through DAX",
    "milliseconds",
)
JOB_RETENTION_DAYS = _integer(
    "JOB_RETENTION_DAYS",
    30,
    (*_JOB_WRITERS, "admin", "batch", "console"),
    "Time after which a job's record is deleted",
    "days",
)

JOB_COST_CEILING_USD = _number(
    "JOB_COST_CEILING_USD",
    1,
    ("admin", "batch", "console", "ingest"),
    "What a job reserves of a budget where the most that it may cost is not known",
    "US dollars",
)

# Queues and events
EVENT_BUS = _required_text(
    "EVENT_BUS",
    ("admin", "batch", "console", "deliver", "dispatch", "ingest", "notify", "sweep", "webhook"),
    "Event bus of the service",
)
EVENT_ARCHIVE_ARN = _text("EVENT_ARCHIVE_ARN", "", _OPERATORS, "Archive of the bus; empty without one")
HARVEST_RULE_ARN = _text("HARVEST_RULE_ARN", "", _OPERATORS, "Rule that replays deliver to harvest by")
TRACK_RULE_ARN = _text("TRACK_RULE_ARN", "", _OPERATORS, "Rule that replays deliver to track by")
DISPATCH_QUEUE_URL = _required_text(
    "DISPATCH_QUEUE_URL",
    ("admin", "batch", "console", "dispatch", "ingest", "notify", "query", "sweep", "track"),
    "Queue of the dispatch function",
)
BATCH_DISPATCH_QUEUE_URL = _required_text(
    "BATCH_DISPATCH_QUEUE_URL",
    ("admin", "batch", "console", "dispatch", "notify", "sweep"),
    "Queue of the dispatch function for jobs of large batches",
)
HARVEST_QUEUE_URL = _required_text(
    "HARVEST_QUEUE_URL", ("admin", "console", "harvest", "sweep"), "Queue of the harvest function"
)
NOTIFY_QUEUE_URL = _required_text(
    "NOTIFY_QUEUE_URL",
    ("admin", "batch", "console", "deliver", "endpoints", "notify", "sweep"),
    "Queue of the deliver function",
)
QUEUES_PREFIX = _required_text(
    "QUEUES_PREFIX",
    ("admin", "console"),
    "Start of the URL of each queue, up to its name, in place of a variable for each",
)
NOTIFY_TOPIC_ARN = _text(
    "NOTIFY_TOPIC_ARN", "", ("notify",), "SNS topic that receives every status change; none if empty"
)

# Public API
PUBLIC_BASE_URL = _text(
    "PUBLIC_BASE_URL",
    "",
    ("admin", "catalog", "console", "endpoints", "files", "ingest", "query"),
    "Base of the URLs in responses; the host of the request if empty",
)
CORS_ALLOWED_ORIGINS: Setting[tuple[str, ...]] = Setting(
    "CORS_ALLOWED_ORIGINS",
    parse_list,
    (),
    ("admin", "catalog", "console", "endpoints", "files", "ingest", "query", "webhook"),
    "Origins of web pages that may call the API; `*` allows all",
)
PROGRESS_INTERVAL_SECONDS = _number(
    "PROGRESS_INTERVAL_SECONDS",
    3,
    ("query",),
    "Time between two reads of a running job's progress from Replicate while a caller polls it; 0: none",
)
MAX_WAIT_SECONDS = _number(
    "MAX_WAIT_SECONDS", 25, ("console", "ingest"), "Longest wait for a result (`Prefer: wait`)"
)
API_TIMEOUT_SECONDS = _number(
    "API_TIMEOUT_SECONDS", 29, ("console", "ingest"), "Time after which API Gateway ends a request that waits"
)
STREAM_WAIT_SECONDS = _number(
    "STREAM_WAIT_SECONDS", 5, ("ingest",), "Longest wait of a create request for the stream of the prediction"
)
MAX_WAITING_REQUESTS = _integer(
    "MAX_WAITING_REQUESTS",
    200,
    ("console", "ingest", "query"),
    "Requests that may wait at the same time; others do not wait",
)
MAX_WAITING_REQUESTS_PER_TENANT = _integer(
    "MAX_WAITING_REQUESTS_PER_TENANT",
    50,
    ("console", "ingest", "query"),
    "The same for the requests of one tenant",
)
TENANT_MAX_CONCURRENCY = _integer(
    "TENANT_MAX_CONCURRENCY",
    0,
    ("admin", "console", "dispatch", "notify", "query", "sweep"),
    "Predictions of a tenant that run at Replicate at a time, unless it has a limit of its own; 0: no limit",
)
BATCHED_PREDICTIONS_PER_MINUTE = _number(
    "BATCHED_PREDICTIONS_PER_MINUTE",
    1200,
    ("ingest",),
    "Predictions that a tenant may create in batches, on average; 1,000 at once",
    "per minute",
)
MAX_UPLOAD_MB = _integer(
    "MAX_UPLOAD_MB", 5120, ("files",), "Largest file that can be uploaded to S3 directly", "MiB"
)
ENABLE_TRANSFER_ACCELERATION = _boolean(
    "ENABLE_TRANSFER_ACCELERATION",
    ("files",),
    "Whether uploads use S3 Transfer Acceleration",
    default=False,
)
INPUT_VALIDATION = _boolean(
    "INPUT_VALIDATION",
    ("admin", "batch", "catalog", "console", "dispatch", "ingest"),
    "Whether inputs are validated against the schemas of their models",
    default=True,
)

# Access
SIGNING_SECRET_ARN = _required_text(
    "SIGNING_SECRET_ARN",
    (*_SIGNERS, "admin", "authorize", "batch", "console", "files", "query", "webhook"),
    "Secret from which all signing keys are derived",
)
ENABLE_USAGE_PLANS = _boolean(
    "ENABLE_USAGE_PLANS",
    ("admin", "console"),
    "Whether API keys are limited by usage plans",
    default=False,
)
USAGE_PLAN_PREFIX = _text(
    "USAGE_PLAN_PREFIX",
    "replicate-proxy",
    ("admin", "console"),
    "Prefix of the names of this stack's usage plans",
)
ADMIN_FUNCTION = _text(
    "ADMIN_FUNCTION",
    "",
    ("admin", "console", "sweep"),
    "Name of the admin function, which works on bulk operations",
)
BATCH_FUNCTION = _text(
    "BATCH_FUNCTION",
    "",
    ("admin", "console", "ingest", "sweep"),
    "Name of the function that works on large batches; empty: the sweep alone starts it",
)
DEFAULT_RATE_LIMIT = _number(
    "DEFAULT_RATE_LIMIT", 10, ("admin", "console"), "Rate limit of a key that has no limits", "requests/s"
)
DEFAULT_BURST_LIMIT = _integer(
    "DEFAULT_BURST_LIMIT", 20, ("admin", "console"), "Burst limit of a key that has no limits", "requests"
)
DEFAULT_MONTHLY_QUOTA = _integer(
    "DEFAULT_MONTHLY_QUOTA",
    0,
    ("admin", "console"),
    "Quota of a key that has no limits; 0 is no quota",
    "requests",
)
AUTHORIZER_CACHE_SECONDS = _number(
    "AUTHORIZER_CACHE_SECONDS",
    60,
    ("admin", "console"),
    "How long API Gateway caches the authorizer's answer",
)
JWT_ISSUER = _text("JWT_ISSUER", "", ("authorize",), "Issuer of accepted tokens; no tokens if empty")
JWT_AUDIENCE = _required_text(
    "JWT_AUDIENCE", ("authorize",), "Audience of accepted tokens; needed with an issuer"
)
JWT_TENANT_CLAIM = _text("JWT_TENANT_CLAIM", "tenant", ("authorize",), "Claim that names the tenant")
JWT_SCOPE_CLAIM = _text("JWT_SCOPE_CLAIM", "scope", ("authorize",), "Claim that lists the scopes")
JWT_GRANTABLE_SCOPES: Setting[tuple[str, ...]] = Setting(
    "JWT_GRANTABLE_SCOPES",
    parse_list,
    ("predictions:read", "predictions:write", "files:write"),
    ("authorize",),
    "Scopes that tokens can grant",
)
JWKS_URL = _text("JWKS_URL", "", ("authorize",), "URL of the keys; `/.well-known/jwks.json` if empty")
JWKS_MIN_REFRESH_SECONDS = _number(
    "JWKS_MIN_REFRESH_SECONDS",
    60,
    ("authorize",),
    "Minimum interval between fetches of the keys",
    local_only=True,
)
JWKS_MAX_STALE_SECONDS = _number(
    "JWKS_MAX_STALE_SECONDS",
    6 * 3600,
    ("authorize",),
    "Use of keys while they cannot be fetched",
    local_only=True,
)

# Replicate
REPLICATE_API_TOKEN = _required_text(
    "REPLICATE_API_TOKEN",
    ("admin", "catalog", "console", "dispatch", "sweep"),
    "Name of the SSM parameter with Replicate's API token",
)
REPLICATE_WEBHOOK_SECRET = _required_text(
    "REPLICATE_WEBHOOK_SECRET",
    ("admin", "console", "webhook"),
    "Name of the SSM parameter with the secret of Replicate's webhooks",
)
TENANT_TOKENS_PREFIX = _required_text(
    "TENANT_TOKENS_PREFIX",
    ("admin", "catalog", "console", "dispatch", "sweep"),
    "Path of the SSM parameters with the API tokens of tenants' own accounts",
)
TENANT_WEBHOOK_SECRETS_PREFIX = _required_text(
    "TENANT_WEBHOOK_SECRETS_PREFIX",
    ("admin", "console", "webhook"),
    "Path of the SSM parameters with the webhook secrets of tenants' own accounts",
)
REPLICATE_API_BASE_URL = _text(
    "REPLICATE_API_BASE_URL",
    "https://api.replicate.com",
    ("admin", "catalog", "console", "dispatch", "sweep"),
    "Base of Replicate's API",
)
REPLICATE_STREAM_BASE_URL = _text(
    "REPLICATE_STREAM_BASE_URL",
    "https://stream-b.svc.ric1.c.replicate.net",
    ("dispatch",),
    "Base of Replicate's streams of text; one on another host is served once it is over",
)
ENABLE_REPLICATE_WEBHOOKS = _boolean(
    "ENABLE_REPLICATE_WEBHOOKS",
    (*_JOB_WRITERS, "admin", "batch", "console"),
    "Whether Replicate sends webhooks; else polling",
    default=True,
)
REPORT_EVERY_START = _boolean(
    "REPORT_EVERY_START",
    ("dispatch",),
    "Whether Replicate reports every start; else where a webhook or an endpoint has `start`",
    default=False,
)
WEBHOOK_BASE_URL = _required_text(
    "WEBHOOK_BASE_URL", ("dispatch", "sweep"), "Base of the URL that Replicate calls back"
)
CREATES_PER_MINUTE = _number(
    "CREATES_PER_MINUTE",
    570,
    ("admin", "console", "dispatch", "query"),
    "Create requests (Replicate allows 600)",
    "requests/min",
)
CREATES_BURST = _integer(
    "CREATES_BURST",
    60,
    ("admin", "console", "dispatch", "query"),
    "Create requests in one burst",
    "requests",
    local_only=True,
)
REPLICATE_READ_TIMEOUT_SECONDS = _number(
    "REPLICATE_READ_TIMEOUT_SECONDS",
    20,
    ("admin", "catalog", "console", "dispatch", "sweep"),
    "Longest pause within a response of Replicate",
    local_only=True,
)
BREAKER_OPEN_SECONDS = _number(
    "BREAKER_OPEN_SECONDS",
    30,
    ("admin", "console", "dispatch", "sweep"),
    "Time from the opening of the circuit breaker to the first probe",
    local_only=True,
)
BREAKER_PROBE_LEASE_SECONDS = _number(
    "BREAKER_PROBE_LEASE_SECONDS",
    60,
    ("admin", "console", "dispatch", "sweep"),
    "Time after which a probe without a result is given up",
    local_only=True,
)

# Pipeline
QUEUED_TIMEOUT_SECONDS = _number(
    "QUEUED_TIMEOUT_SECONDS",
    120,
    (*_JOB_WRITERS, "admin", "batch", "console"),
    "Wait for dispatch before the sweep enqueues a job again",
)
UNKNOWN_OUTCOME_TIMEOUT_SECONDS = _number(
    "UNKNOWN_OUTCOME_TIMEOUT_SECONDS",
    30,
    (*_JOB_WRITERS, "admin", "batch", "console"),
    "Wait before a submission of unknown outcome is resolved",
)
# What Replicate's list does not show would be paid for twice. It shows a prediction up to two minutes late,
# and dispatch may send the request for as long as it runs, a minute, after it has claimed the job.
RESUBMIT_AFTER_SECONDS = _number(
    "RESUBMIT_AFTER_SECONDS",
    180,
    (*_JOB_WRITERS, "admin", "batch", "console"),
    "Wait before a submission without a trace is sent again",
    min_on_aws=180,
)
WEBHOOK_TIMEOUT_SECONDS = _number(
    "WEBHOOK_TIMEOUT_SECONDS",
    300,
    (*_JOB_WRITERS, "admin", "batch", "console"),
    "Wait for Replicate's webhook before the sweep polls",
)
POLL_INTERVAL_SECONDS = _number(
    "POLL_INTERVAL_SECONDS",
    5,
    (*_JOB_WRITERS, "admin", "batch", "console"),
    "First interval of polling without webhooks",
)
HARVEST_TIMEOUT_SECONDS = _number(
    "HARVEST_TIMEOUT_SECONDS",
    600,
    (*_JOB_WRITERS, "admin", "batch", "console"),
    "Wait before the sweep starts an unfinished harvest again",
)
SWEEP_DURATION_SECONDS = _number(
    "SWEEP_DURATION_SECONDS", 0, ("sweep",), "Time for which a sweep repeats its passes; 0 is one pass"
)
DISPATCH_LEASE_SECONDS = _number(
    "DISPATCH_LEASE_SECONDS", 90, ("dispatch",), "Lease on a job during its submission", local_only=True
)

# Output files
OUTPUTS_BASE_URL = _required_text(
    "OUTPUTS_BASE_URL", ("dispatch", "harvest"), "Base of the URLs of output files and streams"
)
CONSOLE_IMAGES_URL = _text(
    "CONSOLE_IMAGES_URL",
    "https://*.cloudfront.net",
    ("console",),
    "Base of the URLs of images that the console shows; its host may begin with `*.`",
)
_URL_SIGNERS = ("admin", "console", "deliver", "ingest", "query")
PRIVATE_OUTPUTS_KEY_ID = _text(
    "PRIVATE_OUTPUTS_KEY_ID",
    "",
    _URL_SIGNERS,
    "CloudFront's ID of the key that signs URLs of private outputs; empty: tenants cannot have any",
)
PRIVATE_OUTPUTS_PUBLIC_KEY = _text(
    "PRIVATE_OUTPUTS_PUBLIC_KEY", "", _URL_SIGNERS, "Public key of private outputs, as PEM"
)
PRIVATE_OUTPUTS_KEY_PARAMETER = _text(
    "PRIVATE_OUTPUTS_KEY_PARAMETER", "", _URL_SIGNERS, "SSM parameter with the private key, as PEM"
)
PRIVATE_OUTPUT_SECONDS = _integer(
    "PRIVATE_OUTPUT_SECONDS",
    3600,
    ("admin", "console", "ingest", "query"),
    "Lifetime of the URLs of private outputs in responses",
    "seconds",
)
PRIVATE_OUTPUT_WEBHOOK_SECONDS = _integer(
    "PRIVATE_OUTPUT_WEBHOOK_SECONDS",
    86400,
    ("deliver",),
    "Lifetime of the URLs of private outputs in webhooks, from each attempt on",
    "seconds",
)
OUTPUT_HOSTS: Setting[tuple[str, ...]] = Setting(
    "OUTPUT_HOSTS",
    parse_list,
    ("replicate.delivery", "*.replicate.delivery"),
    ("harvest",),
    "Hosts that output files are fetched from",
)
IMAGE_FORMAT = _text(
    "IMAGE_FORMAT",
    "",
    ("harvest",),
    "Format of compressed images; auto is AVIF for requests that accept it, else WebP",
)
IMAGE_QUALITY = _text("IMAGE_QUALITY", "", ("harvest",), "Quality of compressed images")
KEEP_ORIGINALS = _boolean(
    "KEEP_ORIGINALS", ("harvest",), "Whether originals of compressed images are stored", default=True
)
KEEP_COPYRIGHT = _boolean(
    "KEEP_COPYRIGHT", ("harvest",), "Whether compressed images keep copyright metadata", default=False
)
IMAGE_WORKERS = _integer(
    "IMAGE_WORKERS", 1, ("harvest",), "Image processes, one per core (1,769 MB of memory)", "processes"
)
HARVEST_MAX_FILE_MB = _integer(
    "HARVEST_MAX_FILE_MB", 500, ("harvest",), "Largest output file that is stored", "MiB"
)
HARVEST_MAX_DISK_MB = _integer(
    "HARVEST_MAX_DISK_MB",
    1536,
    ("harvest",),
    "Temporary disk space of all files together; an image takes twice its size",
    "MiB",
)
HARVEST_FETCH_TIMEOUT_SECONDS = _number(
    "HARVEST_FETCH_TIMEOUT_SECONDS", 120, ("harvest",), "Longest download of one file", local_only=True
)
HARVEST_RESERVED_SECONDS = _number(
    "HARVEST_RESERVED_SECONDS",
    45,
    ("harvest",),
    "Time before the invocation ends in which no file is started",
    local_only=True,
)

# Webhooks to applications
_DELIVERY_FUNCTIONS = ("admin", "batch", "console", "deliver", "endpoints", "notify", "sweep")
DELIVERY_SCHEDULE: Setting[tuple[float, ...]] = Setting(
    "DELIVERY_SCHEDULE",
    parse_numbers,
    # Standard Webhooks specification, "Retry schedule": ten attempts in 75 hours
    (0.0, 5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0),
    _DELIVERY_FUNCTIONS,
    "Delays before each attempt of a delivery, the first of which is sent at once in any case",
    "seconds",
)
WEBHOOK_PORTS: Setting[tuple[int, ...]] = Setting(
    "WEBHOOK_PORTS",
    parse_integers,
    (443,),
    ("admin", "batch", "console", "deliver", "endpoints", "ingest"),
    "Ports of webhook URLs",
)
DELIVERY_TOTAL_TIMEOUT_SECONDS = _number(
    "DELIVERY_TOTAL_TIMEOUT_SECONDS",
    15,
    _DELIVERY_FUNCTIONS,
    "Timeout of an attempt",
    local_only=True,
)
DELIVERY_LEASE_SECONDS = _number(
    "DELIVERY_LEASE_SECONDS", 60, _DELIVERY_FUNCTIONS, "Lease on a delivery", local_only=True
)
DELIVERY_REQUEUE_AFTER_SECONDS = _number(
    "DELIVERY_REQUEUE_AFTER_SECONDS",
    300,
    _DELIVERY_FUNCTIONS,
    "Time that a delivery is left to the queue before the sweep enqueues it again",
    local_only=True,
)
