"""Capacity planning: the hardware that a configuration needs. `plan.plan` computes it, `report` formats it.

`engine` plans one engine; its formulas are in `memory` (what fits) and `throughput` (how fast). `model_shape` reads a
model's dimensions, `gpus` lists GPU types, `workload` turns a load into calls, `alternatives` suggests what would fit.
"""
