"""Runs of the whole service while things happen to it: kills, changes, and time.

`make chaos` and `make soak` are these; `test_smoke.py` is a short one of each.
"""
