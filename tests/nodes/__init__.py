"""Tests with several Ray nodes, all on this machine, and real engines on them.

Importing vLLM sets off warnings among the packages beneath it, which are not ours to mend.
"""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import ray.serve.llm  # noqa: F401
