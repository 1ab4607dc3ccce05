"""What a configuration needs: counted as vLLM counts, and refused with a reason and a way out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cluster.config.loader import load, named, shipped
from cluster.config.schema import ClusterConfig
from cluster.planning.gpus import GPUS
from cluster.planning.memory import GIB, Sharding, memory_on_gpu, sharding_error, weight_bytes
from cluster.planning.model_shape import ModelShape, ModelUnknown, find_config, shape_of
from cluster.planning.plan import Hardware, plan
from cluster.planning.throughput import speed
from cluster.planning.workload import JUDGING_TOKENS, Load, calls_of
from tests.unit.cluster.cli.test_main import run

MIXTRAL = "mistralai/Mixtral-8x22B-Instruct-v0.1"
AWQ = "MaziyarPanahi/Mixtral-8x22B-Instruct-v0.1-AWQ"
MIXTRALS = sorted(name for name in shipped() if name.startswith("mixtral"))


def _shape(model: str = MIXTRAL, **engine: Any) -> ModelShape:
    return shape_of(find_config(model), engine)


def _config(engine: Mapping[str, Any], accelerator: str = "H100", **backend: Any) -> ClusterConfig:
    return ClusterConfig.model_validate(
        {
            "backends": {
                "own": {"kind": "vllm", "model": MIXTRAL, "accelerator": accelerator, "engine": engine, **backend},
                "api": {"kind": "remote", "base_url": "https://example.com/v1"},
            },
            "members": {
                "own": {"backend": "own"},
                "far": {"backend": "api", "model": "x", "price": {"input_per_mtok": 2, "output_per_mtok": 10}},
            },
            "presets": {
                "fusion/merge": {"mode": "merge", "panel": ["own", "far"], "judge": "far"},
                "fusion/best-of": {"mode": "best-of", "panel": ["own", "far"], "judge": "own"},
                "fusion/debate": {"mode": "debate", "panel": ["own", "far"], "judge": "own", "rounds": 2},
            },
        }
    )


def test_replicas_that_wait_for_others_take_the_cores_that_are_set_aside() -> None:
    config = _config({"tensor_parallel_size": 8}).model_dump(exclude_unset=True)
    config["judge"] = {"replicas": {"max": 8, "num_cpus": 1}}
    config["backends"]["api"]["replicas"] = {"num_cpus": 0.5}
    planned = {each.name: each.replica.cpus for each in plan(ClusterConfig.model_validate(config)).deployments}
    assert (planned["judge"], planned["remote:api"]) == (1, 0.5)


@pytest.mark.parametrize(
    ("model", "total_b", "active_b"),
    [
        (MIXTRAL, 140.6, 39.2),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", 46.7, 12.9),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", 0.1345, 0.1345),
    ],
)
def test_parameters_are_those_that_the_models_authors_give(model: str, total_b: float, active_b: float) -> None:
    shape = _shape(model)
    assert shape.parameters() / 1e9 == pytest.approx(total_b, abs=0.05)
    assert shape.active_parameters / 1e9 == pytest.approx(active_b, abs=0.05)


def test_weights_of_a_whole_model_are_its_parameters() -> None:
    assert weight_bytes(_shape(), Sharding()) == pytest.approx(2 * _shape().parameters(), rel=1e-6)


def test_four_bits_with_their_scales_are_what_vllm_was_seen_to_load() -> None:
    """68.6 GiB, as vLLM reported it for this model on one A100."""
    assert weight_bytes(_shape(AWQ), Sharding()) / GIB == pytest.approx(68.6, abs=0.05)


def test_shards_have_their_parts() -> None:
    shape = _shape()
    whole = weight_bytes(shape, Sharding())
    assert weight_bytes(shape, Sharding(8)) == pytest.approx(whole / 8, rel=0.001)
    assert weight_bytes(shape, Sharding(8, 2)) == pytest.approx(whole / 16, rel=0.01)
    assert weight_bytes(shape, Sharding(8, 1, expert=True)) == pytest.approx(whole / 8, rel=0.001)
    # There are 8 key-value heads: 16 shards keep one each, and so twice as many in all.
    assert weight_bytes(shape, Sharding(16)) * 16 > whole


def test_a_token_takes_a_key_and_a_value_of_each_layer_and_head() -> None:
    one = memory_on_gpu(_shape(), {}, GPUS["B200"])
    assert one.kv_bytes_per_token == 2 * 56 * 8 * 128 * 2 == _shape().kv_bytes_per_token(2)
    eight = memory_on_gpu(_shape(), {"tensor_parallel_size": 8, "kv_cache_dtype": "fp8"}, GPUS["H100"])
    assert eight.kv_bytes_per_token == 2 * 56 * 1 * 128
    assert (
        memory_on_gpu(_shape(), {"tensor_parallel_size": 16}, GPUS["H100"]).kv_bytes_per_token == 2 * 56 * 1 * 128 * 2
    )


def test_blocks_fill_what_the_rest_leaves() -> None:
    memory = memory_on_gpu(_shape(), {"tensor_parallel_size": 8}, GPUS["H100"])
    held = memory.weights_gib + memory.activations_gib + memory.runtime_gib + memory.kv_cache_gib
    assert held == pytest.approx(memory.budget_gib) == pytest.approx(0.92 * GPUS["H100"].memory_gib)
    assert memory.blocks == int(memory.kv_cache_gib * GIB // (16 * memory.kv_bytes_per_token))
    assert memory.sequences(16) == memory.blocks - 1
    assert memory.sequences(17) == (memory.blocks - 1) // 2
    given = memory_on_gpu(_shape(), {"tensor_parallel_size": 8, "kv_cache_memory_bytes": GIB}, GPUS["H100"])
    assert given.blocks == GIB // (16 * 28672)


@pytest.mark.parametrize(
    ("sharding", "says"),
    [
        (Sharding(7), "attention heads"),
        (Sharding(12), "key-value heads"),
        (Sharding(1, 57), "layers"),
        (Sharding(8, 2), None),
        (Sharding(16), None),
    ],
)
def test_a_model_is_cut_as_vllm_can_cut_it(sharding: Sharding, says: str | None) -> None:
    reason = sharding_error(_shape(), sharding)
    assert (reason is None) == (says is None)
    assert says is None or says in (reason or "")


@pytest.mark.parametrize("name", MIXTRALS)
def test_every_mixtral_that_comes_along_fits_and_checks(name: str) -> None:
    config = load(named(Path(name)))
    planned = plan(config, Load(0.2, 2000, 500))
    assert planned.refusals == ()
    assert planned.engines[0].memory.longest >= 65536
    assert planned.deployments[-1].replicas == config.backends["mixtral"].replicas.min
    assert run("check", "-c", name).exit_code == 0


def test_each_mixtral_is_where_it_is_meant_to_be() -> None:
    planned = {name: plan(load(named(Path(name)))).deployments[-1].replica for name in MIXTRALS}
    assert {name: (needs.gpus, needs.nodes) for name, needs in planned.items()} == {
        "mixtral-8x22b": (8, 1),
        "mixtral-8x22b-two-nodes": (16, 2),
        "mixtral-8x22b-fp8": (4, 1),
        "mixtral-8x22b-awq": (2, 1),
    }


def test_too_few_gpus_are_refused_with_what_would_do() -> None:
    (refusal,) = plan(_config({"tensor_parallel_size": 2})).refusals
    assert "the weights do not fit" in refusal.reason
    assert refusal.nearest[0].startswith("quantization: fp8") or refusal.nearest[0].startswith("tensor_parallel_size")
    assert "tensor_parallel_size: 4 (4 H100 in 1 node)" in refusal.nearest
    for found in refusal.nearest:
        key, _, value = found.partition(" (")[0].partition(": ")
        changed: dict[str, Any] = {"tensor_parallel_size": 2}
        if key == "accelerator":
            assert plan(_config(changed, value)).refusals == ()
        else:
            changed[key] = int(value) if value.isdecimal() else value
            assert plan(_config(changed)).refusals == (), found


def test_a_context_that_is_too_long_is_refused_with_one_that_fits() -> None:
    engine = {"tensor_parallel_size": 4, "gpu_memory_utilization": 0.9}
    (refusal,) = plan(_config(engine)).refusals
    assert "no sequence of max_model_len 65536 fits" in refusal.reason
    assert refusal.nearest[0].startswith("max_model_len: ")
    fits = int(refusal.nearest[0].removeprefix("max_model_len: "))
    assert plan(_config({**engine, "max_model_len": fits})).refusals == ()
    assert plan(_config({**engine, "max_model_len": fits + 1024})).refusals != ()


def test_where_no_node_is_large_enough_stages_go_over_several() -> None:
    (refusal,) = plan(_config({"tensor_parallel_size": 8}, "A10G")).refusals
    assert any("pipeline_parallel_size: 2 (16 A10G in 2 nodes)" in found for found in refusal.nearest)


def test_strict_pack_wants_one_node() -> None:
    engine = {"tensor_parallel_size": 8, "pipeline_parallel_size": 2}
    (refusal,) = plan(_config(engine, placement={"strategy": "STRICT_PACK"})).refusals
    assert "STRICT_PACK needs 16 GPUs in one node, and a node has 8" in refusal.reason
    assert plan(_config(engine, placement={"strategy": "STRICT_PACK"}), None, Hardware(gpus_per_node=16)).refusals == ()


def test_a_load_takes_replicas_and_more_than_there_may_be_are_refused() -> None:
    config = _config({"tensor_parallel_size": 8}, replicas={"max": 3})
    load_ = Load(1, 1000, 300)
    (one,) = plan(config, load_).engines
    assert one.requests_per_s is not None
    planned = plan(config, Load(2.5 * one.requests_per_s, 1000, 300), Hardware(gpu_hour_usd={"H100": 2.0}))
    assert planned.deployments[-1].name == "remote:api"
    ours = next(each for each in planned.deployments if each.name == "vllm:own")
    assert (ours.replicas, ours.gpus, ours.nodes, ours.usd_per_hour) == (3, 24, 3, 48.0)
    assert planned.usd_per_hour == 48.0
    assert planned.refusals == ()
    (refusal,) = plan(config, Load(3.5 * one.requests_per_s, 1000, 300)).refusals
    assert "need 4 replicas, and replicas.max is 3" in refusal.reason
    assert refusal.nearest[0] == "max: 4"


def test_no_price_is_guessed() -> None:
    config = _config({"tensor_parallel_size": 8})
    assert plan(config).usd_per_hour is None
    assert plan(config).request_usd is None
    assert plan(config, None, Hardware(gpu_hour_usd={"": 3.0})).usd_per_hour == 24.0
    assert plan(config, None, Hardware(gpu_hour_usd={"L4": 3.0})).usd_per_hour is None


@pytest.mark.parametrize(
    ("preset", "calls"),
    [
        ("fusion/merge", [("own", 1, 1000, 300), ("far", 1, 1000, 300), ("far", 1, 1600 + JUDGING_TOKENS, 300)]),
        ("fusion/best-of", [("own", 1, 1000, 300), ("far", 1, 1000, 300), ("own", 1, 2000, JUDGING_TOKENS)]),
        (
            "fusion/debate",
            [
                ("own", 1, 1000, 300),
                ("far", 1, 1000, 300),
                ("own", 2, 1600, 300),
                ("far", 2, 1600, 300),
                ("own", 1, 1600 + JUDGING_TOKENS, 300),
            ],
        ),
    ],
)
def test_a_fused_request_is_several_calls(preset: str, calls: list[tuple[str, int, int, int]]) -> None:
    found = calls_of(_config({}), Load(1, 1000, 300, preset))
    assert [(call.member, call.times, call.input_tokens, call.output_tokens) for call in found] == calls


def test_remote_members_charge_by_the_token() -> None:
    charged = plan(_config({"tensor_parallel_size": 8}), Load(1, 1000, 300)).request_usd
    assert charged == pytest.approx((1000 * 2 + 300 * 10 + 2000 * 2 + 300 * 10) / 1e6)


def test_speed_follows_bandwidth_and_batch() -> None:
    shape, cut = _shape(), Sharding(8)
    memory = memory_on_gpu(shape, {"tensor_parallel_size": 8}, GPUS["H100"])
    alone, full = (speed(shape, cut, GPUS["H100"], memory, batch, 1000) for batch in (1, 64))
    # A token alone reads the weights that it meets, and the time to add up 56 layers is the rest.
    read_s = 2 * shape.active_parameters / 8 / (3350e9 * 0.6)
    assert alone.token_s == pytest.approx(read_s + 2 * 56 * 20e-6, rel=0.05)
    assert full.token_s < 64 * alone.token_s / 10
    assert full.batch_token_s == full.token_s / 64
    assert speed(shape, cut, GPUS["H200"], memory, 64, 1000).token_s < full.token_s


@pytest.mark.parametrize(
    ("engine", "config", "says"),
    [
        ({}, {"model_type": "bert"}, "bert"),
        ({"dtype": "int3"}, {}, "int3"),
        ({"quantization": "magic"}, {}, "magic"),
    ],
)
def test_what_is_not_known_is_said(engine: dict[str, Any], config: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelUnknown, match=says):
        shape_of({**find_config(MIXTRAL), **config}, engine)


def test_a_models_own_folder_goes_before_all(tmp_path: Path) -> None:
    with pytest.raises(ModelUnknown, match=r"no config\.json"):
        find_config(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({**find_config(MIXTRAL), "num_hidden_layers": 1}))
    assert _shape(str(tmp_path)).layers == 1


def test_on_the_command_line() -> None:
    shown = run("plan", "-c", "mixtral-8x22b", "--rps", "2", "--gpu-hour-usd", "2.5")
    assert shown.exit_code == 0
    small = run("plan", "-c", "mixtral-8x22b", "--gpu-memory-gib", "64")
    assert "(64" in small.stdout
    for said in ("140.6 B parameters, 39.2 B active", "estimate", "Not validated on GPUs", "40.00"):
        assert said in " ".join(shown.stdout.split())
    as_json = json.loads(run("plan", "-c", "mixtral-8x22b", "--json").stdout)
    assert (as_json["fits"], as_json["load"], as_json["usd_per_hour"]) == (True, None, None)
    assert as_json["validated_on_gpus"] is False
    assert as_json["engines"][0]["parameters"] == 140_630_071_296
    small = run("plan", "-c", "mixtral-8x22b", "--gpu-memory-gib", "24", "--json")
    assert small.exit_code == 1
    assert "the weights do not fit" in small.stderr
    assert not json.loads(small.stdout)["fits"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--gpu-hour-usd", "cheap"], "not a price"),
        (["--gpu-hour-usd", "H1000=2"], "H1000 is not known"),
        (["--preset", "fusion/none"], "no preset 'fusion/none'"),
        (["-c", "no-such"], "shipped configurations are embedded, mixtral-8x22b"),
    ],
)
def test_wrong_usage_is_2(options: list[str], says: str) -> None:
    result = run("plan", *options)
    assert result.exit_code == 2
    assert says in result.stderr.replace("\n", " ")


def test_the_embedded_configuration_needs_cores_and_no_gpu() -> None:
    planned = plan(load(named(None)), Load(1, 100, 100))
    (engine,) = planned.engines
    assert planned.refusals == ()
    assert engine.speed is None
    assert engine.memory.kv_cache_gib == 1
    ours = planned.deployments[-1].replica
    assert (ours.gpus, ours.cpus) == (0, 1)
    assert 2 < ours.memory_gib < 6


def test_a_gpu_of_no_type_is_asked_for() -> None:
    (refusal,) = plan(_config({"tensor_parallel_size": 8}, "gpu")).refusals
    assert "the type of the GPU is not specified" in refusal.reason
    assert plan(_config({"tensor_parallel_size": 8}, "gpu"), None, Hardware(gpu="H100")).refusals == ()
