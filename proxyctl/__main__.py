"""The entry point of the command `proxyctl`, and of `python -m proxyctl`."""

import sys

from proxyctl.cli import run


def main() -> None:
    sys.exit(run())


if __name__ == "__main__":
    main()
