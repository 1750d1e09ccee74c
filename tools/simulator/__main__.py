"""Serve a local Replicate: `.venv/bin/python -m tools.simulator`."""

import argparse
from pathlib import Path

from tools.simulator.server import listen, serve
from tools.simulator.settings import DEFAULT_TOKEN, DEFAULT_WEBHOOK_SECRET, LaunchOptions, Settings


def main() -> None:
    """Parse the command line and serve until SIGINT or SIGTERM."""
    arguments = _create_parser().parse_args()
    listening = listen(arguments.host, arguments.port)
    port = listening.getsockname()[1]
    launch = LaunchOptions(
        public_url=(arguments.public_url or f"http://{arguments.host}:{port}").rstrip("/"),
        third_party_url=(arguments.third_party_url or f"http://localhost:{port}").rstrip("/"),
        seed=arguments.seed,
        ready_file=arguments.ready_file,
    )
    settings = Settings(
        token=arguments.token,
        webhook_secret=arguments.webhook_secret,
        latency=arguments.latency,
        retention=arguments.retention,
        webhook_retry_scale=arguments.webhook_retry_scale,
    )
    serve(listening, launch, settings)


def _create_parser() -> argparse.ArgumentParser:
    defaults = Settings()
    parser = argparse.ArgumentParser(prog=".venv/bin/python -m tools.simulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port")
    parser.add_argument("--public-url", help="origin in the URLs of responses (default: http://HOST:PORT)")
    parser.add_argument("--third-party-url", help="origin of output files that are not Replicate's")
    parser.add_argument("--token", default=DEFAULT_TOKEN, help="API token of the default account")
    parser.add_argument("--webhook-secret", default=DEFAULT_WEBHOOK_SECRET, help="whsec_ and base64")
    parser.add_argument("--seed", type=int, default=0, help="reproduces faults, images and texts")
    parser.add_argument("--latency", type=float, default=defaults.latency, help="typical run time in seconds")
    parser.add_argument(
        "--retention", type=float, default=defaults.retention, help="seconds until data is removed"
    )
    parser.add_argument(
        "--webhook-retry-scale",
        type=float,
        default=defaults.webhook_retry_scale,
        help="factor on the webhook retry delays",
    )
    parser.add_argument(
        "--ready-file", type=Path, help="written as JSON {url, pid} once the server accepts connections"
    )
    return parser


if __name__ == "__main__":
    main()
