#!/bin/sh
# Resolves the whole tree anew and writes requirements/cpu.txt and requirements/gpu.txt.
#
#   sh requirements/lock.sh [PYTHON] [TORCH_INDEX]
#
# Nothing is installed but pip; the resolver's report says what would be. torchvision, torchaudio and torchcodec are
# left out: serving text needs none of them, and builds of theirs that do not match PyTorch's break its import. A machine
# that has PyTorch's CPU build at hand prefers it, so for GPUs that very build is ruled out.
set -eu
python=${1:-python3}
index=${2:+--extra-index-url $2}
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
touch "$folder/cpu.not" "$folder/gpu.not"
for extra in cpu gpu; do
    echo "==> resolving $extra"
    # shellcheck disable=SC2086
    "$folder/venv/bin/python" -m pip install --quiet --dry-run --ignore-installed --report "$folder/$extra.json" \
        --constraint "$folder/$extra.not" $index ".[$extra,dev]"
    "$python" - "$folder/$extra.json" "requirements/$extra.txt" "$extra" <<'PYTHON'
import json
import re
import sys

report, target, extra = sys.argv[1:]
left_out = {"torchvision", "torchaudio", "torchcodec", "fusion-cluster"}
with open(report) as file:
    found = {entry["metadata"]["name"]: entry["metadata"]["version"] for entry in json.load(file)["install"]}
names = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found.items()}
lines = [f"{name}=={version}" for name, version in sorted(names.items()) if name not in left_out]
with open(target, "w") as file:
    file.write(f"# The whole tree of `.[{extra},dev]`, written by `make lock`.\n" + "\n".join(lines) + "\n")
print(f"    {len(lines)} packages in {target}")
PYTHON
    sed -n 's/^torch==\(.*+cpu\)$/torch!=\1/p' "requirements/$extra.txt" >"$folder/gpu.not"
done
