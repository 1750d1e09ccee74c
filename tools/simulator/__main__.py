"""`python -m tools.simulator`: serve a local Replicate."""

import argparse
from pathlib import Path

from tools.simulator.server import listen, serve
from tools.simulator.settings import DEFAULT_TOKEN, DEFAULT_WEBHOOK_SECRET, Knobs, Launch


def parser() -> argparse.ArgumentParser:
    """The command line."""
    usual = Knobs()
    options = argparse.ArgumentParser(prog="python -m tools.simulator", description=__doc__)
    options.add_argument("--host", default="127.0.0.1")
    options.add_argument("--port", type=int, default=0, help="0 takes a free port")
    options.add_argument("--public-url", help="origin that clients use (default: http://HOST:PORT)")
    options.add_argument("--third-party-url", help="origin of files that are not Replicate's")
    options.add_argument("--token", default=DEFAULT_TOKEN, help="the one API token")
    options.add_argument("--webhook-secret", default=DEFAULT_WEBHOOK_SECRET, help="whsec_ and base64")
    options.add_argument("--seed", type=int, default=0, help="reproduces faults, pictures and words")
    options.add_argument("--latency", type=float, default=usual.latency, help="usual run time in seconds")
    options.add_argument(
        "--retention", type=float, default=usual.retention, help="seconds until data is removed"
    )
    options.add_argument("--webhook-retry-scale", type=float, default=usual.webhook_retry_scale)
    options.add_argument("--ready-file", type=Path, help="written as JSON {url, pid} once it listens")
    return options


def main() -> None:
    """Serve until told to stop."""
    given = parser().parse_args()
    listening = listen(given.host, given.port)
    port = listening.getsockname()[1]
    launch = Launch(
        url=(given.public_url or f"http://{given.host}:{port}").rstrip("/"),
        third_party_url=(given.third_party_url or f"http://localhost:{port}").rstrip("/"),
        seed=given.seed,
        ready_file=given.ready_file,
    )
    knobs = Knobs(
        token=given.token,
        webhook_secret=given.webhook_secret,
        latency=given.latency,
        retention=given.retention,
        webhook_retry_scale=given.webhook_retry_scale,
    )
    serve(listening, launch, knobs)


if __name__ == "__main__":
    main()
