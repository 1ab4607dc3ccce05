"""What a configuration needs before anyone buys it. `plan.plan` answers, `report` prints it.

`memory` and `throughput` estimate an engine, `model_shape` reads a model's dimensions, `alternatives` looks for what
would fit where the wanted one does not.
"""
