"""Fusing language models' answers: the idea, without a framework.

Start with `values` (what is passed around) and `member` (the one seam), then `round` (when a panel has answered
enough), `modes` (what is made of the answers), `judging` (what a judge is shown) and `runner` (which carries it out).
"""

from fusion.chat import Call, Completion, Delta, Message, Request, Sampling
from fusion.errors import FusionError
from fusion.member import Member, MemberProfile
from fusion.presets import Policy, Pool, Preset, Task
from fusion.results import Fused
from fusion.runtime.runner import fuse

__all__ = [
    "Call",
    "Completion",
    "Delta",
    "Fused",
    "FusionError",
    "Member",
    "MemberProfile",
    "Message",
    "Policy",
    "Pool",
    "Preset",
    "Request",
    "Sampling",
    "Task",
    "fuse",
]
