"""What a process finds around it: its settings and the time.

The step boundaries' checkpoint: crashes on demand in the local stack, nothing anywhere else.
"""

from __future__ import annotations

import os

from replicate_proxy.config import Env, local_settings
from replicate_proxy.testing.fault_injection import checkpoint_of, plan_of
from replicate_proxy.testing.offset_clock import clock_of

env = Env(os.environ)
clock = clock_of(os.environ)


checkpoint = checkpoint_of(plan_of(local_settings(os.environ)))
