"""A request in OpenRouter's form, and what becomes of it here: which panel, which judge, with which settings."""

import json

from deployments.api.chat_request import parse_chat
from deployments.api.models import Catalogue
from fusion import MemberProfile, Preset
from fusion.errors import InvalidRequest

names = ("opus", "gpt", "gemini")
catalogue = Catalogue(
    {"fusion/merge": Preset("fusion/merge", "merge", panel=names, judges=("opus",))},
    {name: MemberProfile(name, backend="openrouter", model=f"vendor/{name}-latest") for name in names},
    default_preset="fusion/merge",
)


def ask(**settings: object) -> None:
    body = {
        "model": "openrouter/fusion",
        "messages": [{"role": "user", "content": "Ridge or lasso?"}],
        "plugins": [{"id": "fusion", **settings}],
    }
    chat = parse_chat(json.dumps(body).encode())
    preset = catalogue.preset_of(chat)
    print(preset.panel, "judged by", preset.judges, "with", chat.panel_sampling)
    assert preset.panel == ("gpt", "gemini")
    assert preset.judges == ("opus",)
    assert chat.panel_sampling.temperature == 0.3


ask(analysis_models=["vendor/gpt-latest", "gemini"], model="vendor/opus-latest", temperature=0.3)
try:
    ask(max_tool_calls=4)
except InvalidRequest as error:
    refused = error
print("400:", refused)
assert refused.param == "plugins[0].max_tool_calls"
