"""Tests with several Ray nodes, all on this machine, and real engines on them.

Importing vLLM sets off warnings among the packages beneath it, which are not ours to mend.
"""

import os
import warnings

# Processes that join a cluster send its token only when told so before Ray is imported; an engine is one that joins.
os.environ.setdefault("RAY_AUTH_MODE", "token")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import ray.serve.llm  # noqa: F401
