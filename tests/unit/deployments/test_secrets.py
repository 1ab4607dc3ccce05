"""Keys are read where they are used, and no error about one holds it."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from deployments.secrets import MissingSecret, Secret


def test_a_key_travels_by_its_name_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text(" sk-secret\n")
    monkeypatch.setenv("SOME_KEY", "sk-secret")
    for secret in (Secret(file=str(tmp_path / "key")), Secret(env="SOME_KEY")):
        assert secret.read() == secret.header_value() == "sk-secret"
        assert "sk-secret" not in repr(secret)
        assert b"sk-secret" not in pickle.dumps(secret)


@pytest.mark.parametrize("content", [b"sk-secr\xc3\xa9t", b"sk-sec\nret", b"sk-\x00secret", b"sk-secret\xff", b" \n"])
def test_what_cannot_be_sent_is_found_before_anything_is(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(MissingSecret) as caught:
        Secret(file=str(tmp_path / "key")).header_value()
    error = caught.value
    assert str(tmp_path / "key") in error.message
    assert b"sk-" not in pickle.dumps((error, error.__cause__, error.args))
    assert error.__context__ is None or error.__suppress_context__
