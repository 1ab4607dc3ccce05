"""How large a model is: from its own `config.json`, without its weights."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

_KNOWN = Path(__file__).parent / "models" / "known.json"


_HUB_TIMEOUT_S = 4.0


_BYTES = {"float32": 4.0, "float": 4.0, "bfloat16": 2.0, "float16": 2.0, "half": 2.0}


_FP8 = frozenset({"fp8", "fbgemm_fp8", "modelopt", "ptpc_fp8"})


_INT4 = frozenset({"awq", "awq_marlin", "gptq", "gptq_marlin"})


# Decoders whose layers are attention with grouped keys, a gated feed-forward network or experts, and two norms.
_FAMILIES = frozenset({"llama", "mistral", "mixtral", "qwen2", "qwen3", "qwen3_moe"})


class ModelUnknown(Exception):
    """A model's size cannot be found out. The message says what was tried."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A decoder's dimensions. `linear_bytes` is what a quantized weight of a linear layer takes, scales included."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    experts: int
    experts_per_token: int
    vocabulary: int
    max_len: int
    tied: bool
    attention_bias: bool
    qk_norm: bool
    dtype_bytes: float
    linear_bytes: float

    @property
    def attention_weights(self) -> int:
        """Weights of a layer's four projections."""
        return 2 * self.hidden * self.head_dim * (self.heads + self.kv_heads)

    @property
    def expert_weights(self) -> int:
        """Weights of one feed-forward network: up, gate, down."""
        return 3 * self.hidden * self.intermediate

    @property
    def router_weights(self) -> int:
        """Weights that choose among a layer's experts; they are never quantized."""
        return self.hidden * self.experts if self.experts > 1 else 0

    @property
    def small_weights(self) -> int:
        """A layer's norms and biases."""
        biases = self.head_dim * (self.heads + 2 * self.kv_heads) if self.attention_bias else 0
        return 2 * self.hidden + biases + (2 * self.head_dim if self.qk_norm else 0)

    @property
    def embedding_weights(self) -> int:
        """Weights of the embedding; the output has as many again, unless they are tied."""
        return self.vocabulary * self.hidden

    def parameters(self, experts: int | None = None) -> int:
        """All parameters, or those of a model that had so many experts a layer."""
        feed_forward = (self.experts if experts is None else experts) * self.expert_weights
        layer = self.attention_weights + feed_forward + self.router_weights + self.small_weights
        return self.layers * layer + (1 if self.tied else 2) * self.embedding_weights + self.hidden

    @property
    def active_parameters(self) -> int:
        """The parameters that one token meets."""
        return self.parameters(self.experts_per_token)

    def kv_bytes_per_token(self, kv_dtype_bytes: float) -> float:
        """What all layers keep of one token: a key and a value for each of the heads that have their own."""
        return 2 * self.layers * self.kv_heads * self.head_dim * kv_dtype_bytes


def find_config(model: str) -> Mapping[str, Any]:
    """A model's `config.json`: from its folder, from the models known here, or from the model hub.

    Raises:
        ModelUnknown: none has it.
    """
    folder = Path(model)
    if folder.is_dir():
        file = folder / "config.json"
        if not file.is_file():
            raise ModelUnknown(f"{model} has no config.json")
        return _read(file)
    known = _read(_KNOWN)
    if model in known:
        return cast("Mapping[str, Any]", known[model])
    return _from_hub(model, list(known))


def shape_of(config: Mapping[str, Any], engine: Mapping[str, Any]) -> ModelShape:
    """A model's shape as an engine loads it: `dtype` and `quantization` of its arguments go before the model's own.

    Raises:
        ModelUnknown: the model is of a kind, or quantized in a way, that is not known here.
    """
    family = config.get("model_type")
    if family not in _FAMILIES:
        raise ModelUnknown(f"models of the type {family} cannot be planned; known are {', '.join(sorted(_FAMILIES))}")
    heads = int(config["num_attention_heads"])
    experts = int(config.get("num_local_experts") or config.get("num_experts") or 1)
    dtype = str(engine.get("dtype") or "auto")
    if dtype == "auto":
        dtype = str(config.get("dtype") or config.get("torch_dtype") or "bfloat16")
        # vLLM's own rule: 16 bits unless told otherwise.
        dtype = "bfloat16" if dtype == "float32" else dtype
    if dtype not in _BYTES:
        raise ModelUnknown(f"dtype {dtype} is not known; known are {', '.join(_BYTES)}")
    return ModelShape(
        hidden=int(config["hidden_size"]),
        layers=int(config["num_hidden_layers"]),
        heads=heads,
        kv_heads=int(config.get("num_key_value_heads") or heads),
        head_dim=int(config.get("head_dim") or config["hidden_size"] // heads),
        intermediate=int((config.get("moe_intermediate_size") if experts > 1 else None) or config["intermediate_size"]),
        experts=experts,
        experts_per_token=int(config.get("num_experts_per_tok") or 1),
        vocabulary=int(config["vocab_size"]),
        max_len=int(engine.get("max_model_len") or config["max_position_embeddings"]),
        tied=bool(config.get("tie_word_embeddings", False)),
        attention_bias=bool(config.get("attention_bias", family == "qwen2")),
        qk_norm=str(family).startswith("qwen3"),
        dtype_bytes=_BYTES[dtype],
        linear_bytes=_linear_bytes(config, engine, _BYTES[dtype]),
    )


def _linear_bytes(config: Mapping[str, Any], engine: Mapping[str, Any], dtype_bytes: float) -> float:
    described = cast("dict[str, Any]", config.get("quantization_config") or {})
    method = str(described.get("quant_method") or engine.get("quantization") or "")
    if not method:
        return dtype_bytes
    if method in _FP8:
        return 1.0  # a scale a channel or a tensor is nothing beside it
    if method in _INT4:
        return _grouped(int(described.get("bits", 4)), int(described.get("group_size", 128)), zeros=True)
    if method == "compressed-tensors":
        groups = cast("dict[str, Any]", described.get("config_groups") or {})
        weights = next((group["weights"] for group in groups.values()), None)
        if weights:
            size = weights.get("group_size") or 0
            return _grouped(int(weights["num_bits"]), int(size), zeros=False)
    raise ModelUnknown(
        f"the quantization {method} is not known; known are compressed-tensors, {', '.join(sorted(_FP8 | _INT4))}"
    )


def _grouped(bits: int, group_size: int, *, zeros: bool) -> float:
    """Bytes a weight: its bits, and its part of the group's 16-bit scale and, where there is one, zero point."""
    extra = (16 + (bits if zeros else 0)) / group_size if group_size > 0 else 0.0
    return (bits + extra) / 8


def _from_hub(model: str, known: list[str]) -> Mapping[str, Any]:
    here = f"It is no folder here, nor one of the models known without the hub ({', '.join(known)})"
    try:
        hub: Any = importlib.import_module("huggingface_hub")
    except ImportError:
        raise ModelUnknown(f"the size of {model} is not known. {here}, and huggingface-hub is not installed") from None
    try:
        file = hub.hf_hub_download(model, "config.json", etag_timeout=_HUB_TIMEOUT_S)
    except Exception as error:
        raise ModelUnknown(
            f"the size of {model} is not known. {here}, and the model hub gave nothing ({type(error).__name__})"
        ) from None
    return _read(Path(file))


def _read(file: Path) -> dict[str, Any]:
    try:
        return cast("dict[str, Any]", json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise ModelUnknown(f"{file} cannot be read: {error}") from None
