"""What differs between the servers that speak OpenAI's chat completions. `providers.hosts` tells them by their URLs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Dialect:
    """What differs between the servers. The defaults suit most that are not OpenAI's."""

    max_tokens: str = "max_tokens"
    """The setting's name. OpenAI's reasoning models refuse this one, Mistral refuses `max_completion_tokens` and Ollama
    ignores it."""
    seed: str = "seed"
    """The setting's name."""
    stream_options: bool = True
    """Whether a stream reports its usage only when `stream_options` asks for it."""
    developer_role: bool = False
    """Whether messages may have the role `developer`, which most chat templates have no place for."""
    reasoning_object: bool = False
    """Whether reasoning is asked for by OpenRouter's `reasoning` object, which takes a token budget, too."""
    tool_choice: bool = True
    """Whether it reads `tool_choice` and `parallel_tool_calls`."""
    truncates_silently: bool = False
    """Whether it silently cuts a prompt that is too long, and has no setting against it."""
    extra_body: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Fields that are added to every body."""


COMMON = Dialect()

OPENAI = Dialect(max_tokens="max_completion_tokens", developer_role=True)

MISTRAL = Dialect(seed="random_seed", stream_options=False)

# By default it leaves out whatever the provider that it routes to does not support, and cuts prompts that are too long
# for models of short contexts. https://openrouter.ai/docs/guides/features/message-transforms
OPENROUTER = Dialect(
    reasoning_object=True,
    extra_body={
        "provider": {"require_parameters": True},
        "plugins": [{"id": "context-compression", "enabled": False}],
    },
)

# https://github.com/ollama/ollama/issues/17921 and https://github.com/ollama/ollama/issues/17889
OLLAMA = Dialect(tool_choice=False, truncates_silently=True)
