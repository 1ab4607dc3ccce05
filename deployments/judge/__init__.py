"""The judge: HTTP ingress and orchestrator in one Serve replica. `replica.Judge` is the deployment's class.

`instrumentation` records and traces its requests, `metrics` counts what they come to.
"""
