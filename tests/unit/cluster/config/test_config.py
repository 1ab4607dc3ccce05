"""Configuration files: what they become, and what is said of every mistake."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.config.backends import RemoteBackendConfig
from cluster.config.former_keys import with_current_keys
from cluster.config.loader import EMBEDDED, ConfigError, check_secrets, load
from cluster.config.schema import ClusterConfig
from deployments.resilience.targets import Targets
from fusion.chat import Sampling
from fusion.pricing import Price

GOOD: dict[str, Any] = {
    "backends": {
        "engine": {"kind": "vllm", "model": "org/model", "accelerator": "cpu"},
        "api": {"kind": "remote", "base_url": "https://example.com/v1", "api_key_env": "KEY"},
    },
    "members": {
        "ours": {"backend": "engine", "temperature": 0, "system": "Be brief."},
        "theirs": {"backend": "api", "model": "m-1", "price": {"input_per_mtok": 3, "output_per_mtok": 15}},
    },
    "presets": {
        "fusion/merge": {"mode": "merge", "panel": ["ours", "theirs"], "judge": "ours"},
        "fusion/debate": {
            "mode": "debate",
            "panel": ["theirs", "ours"],
            "judge": ["theirs", "ours"],
            "rounds": 2,
            "decision": "best-of",
            "quorum": 2,
            "straggler_grace": 0.5,
            "deadline_s": 30,
        },
    },
}


def written(folder: Path, content: object) -> Path:
    file = folder / "config.yaml"
    text = content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False)
    file.write_text(text, encoding="utf-8")
    return file


def problems(folder: Path, content: object) -> list[str]:
    """Each problem of a configuration as `LINE path: message`."""
    with pytest.raises(ConfigError) as caught:
        load(written(folder, content))
    return [f"{found.line} {found.path}: {found.message}" for found in caught.value.problems]


def changed(path: str, value: Any) -> dict[str, Any]:
    """The good configuration with one thing put in its place."""
    content = copy.deepcopy(GOOD)
    *parents, last = path.split(".")
    at = content
    for part in parents:
        at = at.setdefault(part, {})
    at[last] = value
    return content


def test_a_good_file_becomes_members_and_presets(tmp_path: Path) -> None:
    config = load(written(tmp_path, GOOD))

    ours, theirs = config.profiles().values()
    assert (ours.backend, ours.model, ours.system) == ("engine", "org/model", "Be brief.")
    assert ours.sampling == Sampling(temperature=0.0)
    assert theirs.price == Price(3, 15)
    merge, debate = config.fusion_presets().values()
    assert merge.policy.quorum_of(2) == 1
    assert debate.judges == ("theirs", "ours")
    assert (debate.rounds, debate.decision, debate.policy.deadline_s) == (2, "best-of", 30)
    assert config.default_preset == "fusion/merge"


def test_a_member_takes_what_its_model_takes(tmp_path: Path) -> None:
    content = changed("backends.engine.engine", {"max_model_len": 4096})
    content["members"]["theirs"] |= {"images": False, "context_tokens": 200_000}
    ours, theirs = load(written(tmp_path, content)).profiles().values()
    assert (ours.takes_images, ours.context_tokens, ours.has_tokenizer) == (True, 4096, True)
    assert (theirs.takes_images, theirs.context_tokens, theirs.has_tokenizer) == (False, 200_000, False)
    unknown = load(written(tmp_path, changed("backends.engine.engine", {"max_model_len": "auto"})))
    assert [profile.context_tokens for profile in unknown.profiles().values()] == [None, None]


def test_the_embedded_configuration_is_good() -> None:
    config = load(EMBEDDED)
    assert {preset.mode for preset in config.fusion_presets().values()} == {"best-of", "merge", "debate"}


def test_a_configuration_cannot_be_changed(tmp_path: Path) -> None:
    config = load(written(tmp_path, GOOD))
    with pytest.raises(ValueError, match="frozen"):
        config.server.port = 9  # type: ignore[misc]


@pytest.mark.parametrize(
    ("path", "value", "place", "says"),
    [
        ("backends.engine.engne", {}, "backends.engine.engne", "did you mean engine?"),
        ("backends.api.timeouts", {"conect_s": 1}, "backends.api.timeouts.conect_s", "did you mean connect_s?"),
        ("backends.api.kind", "local", "backends.api", "expected tags: 'vllm', 'remote'"),
        ("backends.api", {"base_url": "https://x"}, "backends.api", "kind is required"),
        ("backends.api.base_url", "ftp://x", "backends.api", "http or https"),
        ("backends.api.base_url", "https://x:port/v1", "backends.api", "Port could not be cast"),
        ("backends.api.base_url", "https://user:pass@x/v1", "backends.api", "neither credentials"),
        ("backends.api.base_url", "http://example.com", "backends.api", "must be https"),
        ("backends.api.api_key_file", "/key", "backends.api", "not both"),
        ("backends.api.replicas", {"min": 3, "max": 2}, "backends.api.replicas", "must not be below min"),
        ("members.ours.backend", "nowhere", "members.ours.backend", "known are engine, api"),
        ("members.ours.model", "other", "members.ours.model", "leave the model out"),
        ("members.theirs", {"backend": "api"}, "members.theirs", "needs a model"),
        ("members.ours.context_tokens", 9, "members.ours.context_tokens", "engine.max_model_len"),
        ("members.theirs.context_tokens", 0, "members.theirs.context_tokens", "greater than or equal to 1"),
        ("members.ours.temperature", 3, "members.ours.temperature", "less than or equal to 2"),
        ("members.ours.max_tokens", "9", "members.ours.max_tokens", "valid integer"),
        ("members.fusion/merge", {"backend": "engine"}, "presets.fusion/merge", "must not share a name"),
        ("members.ours.fallbacks", ["x"], "members.ours.fallbacks[0]", "no member 'x'"),
        ("members.ours.fallbacks", ["theirs", "theirs"], "members.ours.fallbacks[1]", "named twice"),
        ("members.ours.fallbacks", ["theirs", "ours"], "members.ours.fallbacks[1]", "cannot be its own fallback"),
        ("members.ours.hedge", "x", "members.ours.hedge", "no member 'x'"),
        ("members.ours.hedge", "ours", "members.ours.hedge", "at the same backend"),
        ("members.ours.hedge", True, "members.ours.hedge", "a member's name, or false"),
        ("members.openrouter/fusion", {"backend": "engine"}, "members.openrouter/fusion", "this name is reserved"),
        (
            "presets.openrouter/fusion",
            GOOD["presets"]["fusion/merge"],
            "presets.openrouter/fusion",
            "this name is reserved",
        ),
        ("backends.api.limits", {"max_queued": -1}, "backends.api.limits.max_queued", "greater than or equal to 0"),
        ("presets.fusion/merge.mode", "vote", "presets.fusion/merge.mode", "'best-of', 'merge', 'debate' or 'auto'"),
        ("presets.fusion/merge.panel", [], "presets.fusion/merge.panel", "at least 1 item"),
        ("presets.fusion/merge.panel", ["ours", "x"], "presets.fusion/merge.panel[1]", "no member 'x'"),
        ("presets.fusion/merge.panel", ["ours", "ours"], "presets.fusion/merge.panel[1]", "named twice"),
        ("presets.fusion/merge.judge", "x", "presets.fusion/merge.judge[0]", "no member 'x'"),
        ("presets.fusion/merge.quorum", 3, "presets.fusion/merge", "above the panel's size (2)"),
        ("presets.fusion/merge.rounds", 2, "presets.fusion/merge", "is for the mode debate"),
        ("presets.fusion/merge.deadline_s", 0, "presets.fusion/merge.deadline_s", "greater than 0"),
        ("server", {"host": "0.0.0.0"}, "server.host", "set server.api_keys_env"),
        ("server", {"port": 70000}, "server.port", "65535"),
        ("sever", {}, "sever", "did you mean server?"),
        ("judge", {"replicas": {"min": 2, "max": 1}}, "judge", "must not be below min"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, path: str, value: Any, place: str, says: str) -> None:
    content = changed(path, value)
    found = problems(tmp_path, content)

    assert len(found) == 1
    line, _, message = found[0].partition(" ")
    assert message.startswith(f"{place}: ")
    assert says in message
    # The line is the one of the deepest key of the path that the file has.
    assert place.split(".")[-1].split("[")[0] in (
        written(tmp_path, content).read_text().splitlines()[int(line) - 1]
    ) or ("[" in place)


@pytest.mark.parametrize(
    ("hedge", "replicas", "second"),
    [({}, 1, None), ({}, 2, "ours"), ({"hedge": "theirs"}, 2, "theirs"), ({"hedge": False}, 2, None)],
)
def test_who_is_asked_as_well_when_a_member_is_slow(
    tmp_path: Path, hedge: dict[str, Any], replicas: int, second: str | None
) -> None:
    content = changed("members.ours", {"backend": "engine", **hedge})
    content["backends"]["engine"]["replicas"] = {"max": replicas}
    targets = load(written(tmp_path, content)).targets()
    assert targets == ({} if second is None else {"ours": Targets(second)})


def test_stand_ins_may_stand_in_for_each_other(tmp_path: Path) -> None:
    content = changed("members.ours.fallbacks", ["theirs"])
    content["members"]["theirs"]["fallbacks"] = ["ours"]
    targets = load(written(tmp_path, content)).targets()
    assert targets == {"ours": Targets(fallbacks=("theirs",)), "theirs": Targets(fallbacks=("ours",))}


def test_every_problem_is_reported_at_once(tmp_path: Path) -> None:
    content = changed("server", {"port": "x", "hots": "y"})
    content["members"]["ours"]["top_p"] = 2
    assert [each.split(": ")[0].split(" ")[1] for each in problems(tmp_path, content)] == [
        "members.ours.top_p",
        "server.port",
        "server.hots",
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "1 : the file is empty: backends, members and presets are needed"),
        ("- a", "1 : the file must hold a mapping: backends, members and presets are needed"),
        ("a: [", "not YAML"),
        ("a: 1\na: 2\n", "2 : not YAML: duplicate key 'a'"),
        ("1: 2", "keys must be strings"),
        ("a: !!python/object:os.system x", "not YAML"),
        ("a: &x [*x, *x]", "a"),
    ],
)
def test_what_is_not_a_configuration(tmp_path: Path, text: str, says: str) -> None:
    assert says in problems(tmp_path, text)[0]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"a: \xff")
    for name, says in (("missing", "no such file"), ("", "a directory"), ("latin", "not UTF-8")):
        with pytest.raises(ConfigError, match=says):
            load(tmp_path / name)


def test_an_error_reads_like_a_compilers(tmp_path: Path) -> None:
    file = written(tmp_path, changed("server", {"port": 0}))
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert str(caught.value) == f"{file}:42:3: server.port: Input should be greater than or equal to 1"


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.text(max_size=60)
    | st.recursive(
        st.none() | st.integers() | st.text(max_size=5), lambda of: st.lists(of) | st.dictionaries(st.text(), of)
    )
)
def test_nothing_but_a_config_error_comes_of_a_bad_file(tmp_path: Path, content: object) -> None:
    try:
        text = content if isinstance(content, str) else yaml.safe_dump(content)
        file = tmp_path / "any.yaml"
        file.write_text(text, encoding="utf-8", errors="replace")
        load(file)
    except ConfigError as error:
        assert error.problems


def test_named_keys_have_to_be_there(tmp_path: Path) -> None:
    content = changed("server", {"api_keys_env": "SERVER_KEYS"})
    content["backends"]["file"] = {
        "kind": "remote",
        "base_url": "https://x",
        "api_key_file": str(tmp_path / "absent"),
    }
    file = written(tmp_path, content)
    config = load(file)
    check_secrets(file, changed_file(config), {"KEY": "k", "SERVER_KEYS": "s"})
    with pytest.raises(ConfigError) as caught:
        check_secrets(file, config, {"KEY": " "})
    assert [problem.path for problem in caught.value.problems] == [
        "backends.api.api_key_env",
        "backends.file.api_key_file",
        "server.api_keys_env",
    ]


def changed_file(config: ClusterConfig) -> ClusterConfig:
    """The configuration without the backend whose key file is absent."""
    backends = {name: backend for name, backend in config.backends.items() if name != "file"}
    assert all(isinstance(backend, RemoteBackendConfig) or name == "engine" for name, backend in backends.items())
    return config.model_copy(update={"backends": backends})


def test_a_key_under_its_former_name_is_accepted_with_a_notice(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = written(tmp_path, {**GOOD, "traces": {"path": "kept"}})
    line = file.read_text().splitlines().index("traces:") + 1
    assert load(file) == ClusterConfig.model_validate({**GOOD, "recordings": {"path": "kept"}})
    (notice,) = caplog.messages
    accepted = "traces: this key is now called recordings; the former name is accepted in this release only"
    assert notice == f"{file}:{line}:1: {accepted}"
    (mistake,) = problems(tmp_path, {**GOOD, "traces": {"path": "kept", "contents": "full"}})
    assert mistake == f"{line + 2} recordings.contents: unknown key; did you mean content?"


def test_a_key_under_both_of_its_names_is_refused_with_both_places(tmp_path: Path) -> None:
    found = problems(tmp_path, {"traces": {"path": "a"}, **GOOD, "recordings": {"path": "b"}})
    says = "this key stands here twice: traces is the former name of recordings; give recordings only"
    last = len((tmp_path / "config.yaml").read_text().splitlines())
    assert found == [f"1 traces: {says}", f"{last - 1} recordings: {says}"]


def test_the_notice_of_a_former_key_is_one_line_on_standard_error(tmp_path: Path) -> None:
    api = {"kind": "remote", "base_url": "https://example.com/v1"}
    members = {"ada": {"backend": "api", "model": "a"}}
    presets = {"fusion/merge": {"mode": "merge", "panel": ["ada"], "judge": "ada"}}
    config = {"backends": {"api": api}, "members": members, "presets": presets, "traces": {"path": "kept"}}
    command = [sys.executable, "-m", "cluster.cli.main", "check", "-c", str(written(tmp_path, config))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr.count("\n") == 1
    assert "traces: this key is now called recordings" in done.stderr


def test_manifests_that_were_rendered_with_a_former_key_still_load() -> None:
    assert with_current_keys({**GOOD, "traces": {"path": "kept"}}) == {**GOOD, "recordings": {"path": "kept"}}
    with pytest.raises(ValueError, match="traces and recordings are the same key"):
        with_current_keys({**GOOD, "traces": {"path": "a"}, "recordings": {"path": "b"}})
