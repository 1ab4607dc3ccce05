"""API keys, referred to by the environment variable or file that holds them.

Only the reference travels between processes; the value is read where it is used and never shown.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from fusion.errors import FusionError


class MissingSecret(FusionError):
    """A key is not where the configuration says, or cannot be used."""

    code = "missing_secret"


@dataclass(frozen=True, slots=True)
class Secret:
    """A key in the environment variable `env` or in the file `file`, exactly one of which is set."""

    env: str | None = None
    file: str | None = None

    def read(self) -> str:
        """Returns the key, without surrounding white space.

        Raises:
            MissingSecret: the variable is unset, the file is unreadable, or either is empty.
        """
        value = self._value()
        if not value.strip():
            raise MissingSecret(f"the {self._where} is unset or empty")
        return value.strip()

    def header_value(self) -> str:
        """Returns the key, which can be sent in a header.

        Raises:
            MissingSecret: as in `read`, or it has characters that cannot be sent. An HTTP client's error for them would
                hold the key.
        """
        value = self.read()
        if not (value.isascii() and value.isprintable()):
            raise MissingSecret(f"the key in the {self._where} has characters that cannot be sent in a header")
        return value

    @property
    def _where(self) -> str:
        return f"file {self.file}" if self.env is None else f"environment variable {self.env}"

    def _value(self) -> str:
        if self.env is not None:
            return os.environ.get(self.env, "")
        try:
            return Path(self.file or "").read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            # Without its cause: a decoding error holds the bytes that it could not decode.
            raise MissingSecret(f"the {self._where} cannot be read: {type(error).__name__}") from None
