"""Fusing language models' answers: the idea, without a framework.

Start with `values` (what is passed around) and `member` (the one seam), then `round` (when a panel has answered
enough), `modes` (what is made of the answers), `judging` (what a judge is shown) and `runner` (which carries it out).
"""

from fusion.errors import FusionError
from fusion.member import Member, MemberProfile
from fusion.preset import Policy, Pool, Preset, Task
from fusion.runner import fuse
from fusion.values import Call, Completion, Delta, Fused, Message, Request, Sampling

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
