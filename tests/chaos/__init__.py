"""Runs of the whole service while things happen to it: kills, changes, and time.

`make chaos` and `make soak` are these; `test_smoke.py` is a short one of each.
"""

import os

# Ray protects what `fusion serve` starts with a token, and looks for it only when told to before it is imported.
os.environ.setdefault("RAY_AUTH_MODE", "token")
