"""The modes, one file each: `best_of`, `merge`, `debate`, `auto`. `MODES` has them by name.

A mode is a coroutine function of a run and its task; it returns a decision. What several of them share: `convene`
convenes the members and ends early where they agree, `outcomes` has the decisions in which no judge model had a part,
`merge_check` compares a merge with the best candidate, and `merge_json` merges JSON answers field by field.
"""

from collections.abc import Awaitable, Callable, Mapping

from fusion.modes.auto import auto
from fusion.modes.best_of import best_of
from fusion.modes.debate import debate
from fusion.modes.merge import merge
from fusion.presets import Task
from fusion.results import Mode
from fusion.steps import Decision, Run

MODES: Mapping[Mode, Callable[[Run, Task], Awaitable[Decision]]] = {
    "best-of": best_of,
    "merge": merge,
    "debate": debate,
    "auto": auto,
}

__all__ = ["MODES", "auto", "best_of", "debate", "merge"]
