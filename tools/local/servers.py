"""The three servers of a stack: the emulated AWS, the local Replicate, and the front that serves outputs."""

import sys

from tools.local import environment, ports
from tools.local.home import DEFAULT_NAME, ROOT, Home
from tools.local.server import Server

AWS_PORT = 4566


def all_of(home: Home) -> list[Server]:
    return [aws(home), replicate(home), outputs(home)]


def aws(home: Home) -> Server:
    """MiniStack with IAM enforced. The user's stack has the well-known port, others any free one."""
    return Server(
        home,
        "ministack",
        command=lambda _: [ROOT / ".venvs/ministack/bin/ministack"],
        environment=lambda port: _ministack(home, port),
        probe="/_ministack/health",
        preferred_port=AWS_PORT if home.name == DEFAULT_NAME else None,
    )


def replicate(home: Home) -> Server:
    """The local Replicate, written in `tools/simulator/`."""
    ready = home.directory / "replicate.ready.json"
    return Server(
        home,
        "replicate",
        command=lambda port: [
            *(sys.executable, "-m", "tools.simulator", "--port", str(port), "--ready-file", ready),
        ],
        environment=lambda _: environment.clean(),
        probe="/_control/health",
    )


def outputs(home: Home) -> Server:
    """Serves stored outputs as CloudFront would; which distribution, it reads from the stack's own file."""
    return Server(
        home,
        "outputs",
        command=lambda port: [
            *(
                sys.executable,
                "-m",
                "tools.local.outputs",
                "--port",
                str(port),
                "--origin-file",
                home.origin_file,
            ),
        ],
        environment=lambda _: environment.clean(),
        probe="/health",
    )


def _ministack(home: Home, port: int) -> dict[str, str]:
    """No AWS_ENDPOINT_URL: functions inherit this environment, and it would win over the emulator's own."""
    return environment.clean() | {
        "AUTH": "true",
        "BIND_HOST": ports.LOOPBACK,
        "GATEWAY_PORT": str(port),
        "IOT_MTLS_ENABLED": "0",
        "MINISTACK_REGION": environment.REGION,
        "AWS_DEFAULT_REGION": environment.REGION,
        "AWS_ACCESS_KEY_ID": environment.ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": environment.SECRET_KEY,
        "TMPDIR": str(home.directory / "tmp"),
        "STATE_DIR": str(home.directory / "state"),
        "S3_DATA_DIR": str(home.directory / "s3"),
        "PERSIST_STATE": "1",
        "S3_PERSIST": "1",
    }
