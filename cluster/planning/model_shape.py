"""Reads the dimensions of a model from its `config.json`. The weights are not needed."""

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


# Decoders with grouped-query attention, a gated feed-forward network or experts, and two norms per layer.
_FAMILIES = frozenset({"llama", "mistral", "mixtral", "qwen2", "qwen3", "qwen3_moe"})


class ModelUnknown(Exception):
    """The dimensions of a model are not available. The message says what was tried."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The dimensions of a decoder-only transformer, as an engine loads it."""

    hidden: int
    """Width of the hidden states."""
    layers: int
    heads: int
    """Attention heads, for queries."""
    kv_heads: int
    """Heads for keys and values."""
    head_dim: int
    intermediate: int
    """Width of a feed-forward network, or of one expert."""
    experts: int
    """Experts per layer; 1 for dense models."""
    experts_per_token: int
    vocabulary: int
    """Tokens in the vocabulary."""
    max_len: int
    """Longest sequence in tokens: `max_model_len`, or the model's own limit."""
    tied: bool
    """Whether input and output share the embedding."""
    attention_bias: bool
    qk_norm: bool
    """Whether queries and keys are normalized."""
    dtype_bytes: float
    """Bytes of a weight that is not quantized."""
    linear_bytes: float
    """Bytes of a weight of a linear layer, scales included."""

    @property
    def attention_weights(self) -> int:
        """Weights of the four projections of a layer."""
        return 2 * self.hidden * self.head_dim * (self.heads + self.kv_heads)

    @property
    def expert_weights(self) -> int:
        """Weights of one feed-forward network: up, gate, down."""
        return 3 * self.hidden * self.intermediate

    @property
    def router_weights(self) -> int:
        """Weights of the router of a layer, which are never quantized."""
        return self.hidden * self.experts if self.experts > 1 else 0

    @property
    def small_weights(self) -> int:
        """Weights of norms and biases of a layer."""
        biases = self.head_dim * (self.heads + 2 * self.kv_heads) if self.attention_bias else 0
        return 2 * self.hidden + biases + (2 * self.head_dim if self.qk_norm else 0)

    @property
    def embedding_weights(self) -> int:
        """Weights of the input embedding. The output has as many of its own unless they are tied."""
        return self.vocabulary * self.hidden

    def parameters(self, experts: int | None = None) -> int:
        """Returns the number of parameters, or what it would be with another number of experts per layer."""
        feed_forward = (self.experts if experts is None else experts) * self.expert_weights
        layer = self.attention_weights + feed_forward + self.router_weights + self.small_weights
        return self.layers * layer + (1 if self.tied else 2) * self.embedding_weights + self.hidden

    @property
    def active_parameters(self) -> int:
        """Parameters that one token uses."""
        return self.parameters(self.experts_per_token)

    def kv_bytes_per_token(self, kv_dtype_bytes: float) -> float:
        """Returns the bytes of KV cache per token in all layers together."""
        return 2 * self.layers * self.kv_heads * self.head_dim * kv_dtype_bytes


def find_config(model: str) -> Mapping[str, Any]:
    """Returns a model's `config.json` from its folder, from the models known here, or from the model hub.

    Raises:
        ModelUnknown: none of them has it.
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
    """Returns a model's dimensions. `dtype` and `quantization` of the engine arguments override the model's own.

    Raises:
        ModelUnknown: the architecture, the dtype or the quantization is not supported here.
    """
    family = config.get("model_type")
    if family not in _FAMILIES:
        raise ModelUnknown(
            f"models of the type {family} are not supported; supported are {', '.join(sorted(_FAMILIES))}"
        )
    heads = int(config["num_attention_heads"])
    experts = int(config.get("num_local_experts") or config.get("num_experts") or 1)
    dtype = str(engine.get("dtype") or "auto")
    if dtype == "auto":
        dtype = str(config.get("dtype") or config.get("torch_dtype") or "bfloat16")
        # vLLM loads 32-bit models in 16 bits by default.
        dtype = "bfloat16" if dtype == "float32" else dtype
    if dtype not in _BYTES:
        raise ModelUnknown(f"dtype {dtype} is not supported; supported are {', '.join(_BYTES)}")
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
        return 1.0  # scales per channel or tensor are negligible
    if method in _INT4:
        return _grouped(int(described.get("bits", 4)), int(described.get("group_size", 128)), zeros=True)
    if method == "compressed-tensors":
        groups = cast("dict[str, Any]", described.get("config_groups") or {})
        weights = next((group["weights"] for group in groups.values()), None)
        if weights:
            size = weights.get("group_size") or 0
            return _grouped(int(weights["num_bits"]), int(size), zeros=False)
    supported = ", ".join(sorted({"compressed-tensors", *_FP8, *_INT4}))
    raise ModelUnknown(f"the quantization {method} is not supported; supported are {supported}")


def _grouped(bits: int, group_size: int, *, zeros: bool) -> float:
    """Returns bytes per weight, including its share of the group's 16-bit scale and of the zero point, if any."""
    extra = (16 + (bits if zeros else 0)) / group_size if group_size > 0 else 0.0
    return (bits + extra) / 8


def _from_hub(model: str, known: list[str]) -> Mapping[str, Any]:
    unknown = (
        f"the dimensions of {model} are not known. It is neither a local folder nor a model known without the hub "
        f"({', '.join(known)})"
    )
    try:
        hub: Any = importlib.import_module("huggingface_hub")
    except ImportError:
        raise ModelUnknown(f"{unknown}, and huggingface-hub is not installed") from None
    try:
        file = hub.hf_hub_download(model, "config.json", etag_timeout=_HUB_TIMEOUT_S)
    except Exception as error:
        raise ModelUnknown(f"{unknown}, and the model hub has no config.json of it ({type(error).__name__})") from None
    return _read(Path(file))


def _read(file: Path) -> dict[str, Any]:
    try:
        return cast("dict[str, Any]", json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise ModelUnknown(f"{file} cannot be read: {error}") from None
