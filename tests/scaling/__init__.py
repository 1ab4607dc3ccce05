"""A run of the whole service while its load goes up and down: `make autoscale`. `test_smoke.py` is a short one."""

import os

# Ray protects what `fusion serve` starts with a token, and looks for it only when told to before it is imported.
os.environ.setdefault("RAY_AUTH_MODE", "token")
