"""What a process finds around it: its settings and the time."""

from __future__ import annotations

import os

from replicate_proxy.config import Env
from replicate_proxy.local_clock import clock_of

__all__ = ["clock", "env"]

env = Env(os.environ)
clock = clock_of(os.environ)
