"""A run of the whole service while its load goes up and down: `make autoscale`. `test_smoke.py` is a short one."""
