"""Arrow, which ships no types of its own."""

# pyright: reportMissingTypeStubs=false
from __future__ import annotations

from typing import Any

import pyarrow
import pyarrow.fs
import pyarrow.parquet

pa: Any = pyarrow


fs: Any = pyarrow.fs


parquet: Any = pyarrow.parquet


ArrowError: type[Exception] = pa.ArrowException
"""What Arrow raises, besides `OSError`, when it cannot read or write something."""
