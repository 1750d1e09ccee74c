"""The step boundaries' checkpoint: crashes on demand in the local stack, nothing anywhere else."""

from __future__ import annotations

import os

from replicate_proxy.config import local_settings
from replicate_proxy.faults import checkpoint_of, plan_of

__all__ = ["checkpoint"]

checkpoint = checkpoint_of(plan_of(local_settings(os.environ)))
