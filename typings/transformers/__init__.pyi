# vLLM imports it, this project does not. Its own `__init__` re-exports every model, and reading them takes pyright
# longer than all the rest.
from typing import Any

def __getattr__(name: str) -> Any: ...
