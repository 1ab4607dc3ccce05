"""The modes, one file each. A mode is a function from a task to its plan."""

from collections.abc import Callable, Mapping

from fusion.modes.auto import auto
from fusion.modes.best_of import best_of
from fusion.modes.debate import debate
from fusion.modes.merge import merge
from fusion.presets import Task
from fusion.results import Mode
from fusion.steps import Plan

MODES: Mapping[Mode, Callable[[Task], Plan]] = {"best-of": best_of, "merge": merge, "debate": debate, "auto": auto}

__all__ = ["MODES", "auto", "best_of", "debate", "merge"]
