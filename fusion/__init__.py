"""Fusing language models' answers: the idea, without a framework.

An evening's reading, in this order: `chat` (what goes to a member and what comes back), `results` (what is reported of
a request), `member` (the one seam) and `presets` (what is asked); `steps` (what a mode can ask for) and `modes` (what
is made of the answers); `runtime.round_state` (when a panel has answered enough) and `runtime.runner` (which carries it
out). Every other folder is one feature, and can be skipped. `testing` has members that follow a script.
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
