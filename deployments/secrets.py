"""Keys, named by where they are found.

Only the name travels between processes; the value is read where it is used and never shown.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from fusion.errors import FusionError


class MissingSecret(FusionError):
    """A key is not where the configuration says."""

    code = "missing_secret"


@dataclass(frozen=True, slots=True)
class Secret:
    """A key in the environment variable `env` or in the file `file`, exactly one of which is set."""

    env: str | None = None
    file: str | None = None

    def read(self) -> str:
        """The key's value, without surrounding white space.

        Raises:
            MissingSecret: the variable is unset, the file is unreadable, or either is empty.
        """
        if self.env is not None:
            value, where = os.environ.get(self.env, ""), f"environment variable {self.env}"
        else:
            where = f"file {self.file}"
            try:
                value = Path(self.file or "").read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise MissingSecret(f"the {where} cannot be read: {type(error).__name__}") from error
        if not value.strip():
            raise MissingSecret(f"the {where} is unset or empty")
        return value.strip()
