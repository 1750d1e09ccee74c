"""The environment variables of the process, its clock, and its checkpoint for fault injection."""

from __future__ import annotations

import os

from replicate_proxy.config import Environment
from replicate_proxy.testing.fault_injection import build_checkpoint, load_fault_plan
from replicate_proxy.testing.offset_clock import build_clock

env = Environment(os.environ)
clock = build_clock(env.local_settings())
checkpoint = build_checkpoint(load_fault_plan(env.local_settings()))
