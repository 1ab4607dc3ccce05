"""Ray Serve around the idea: the judge (ingress and orchestrator), the members' replicas, and the wire formats.

Only picklable values of `fusion` cross from one process to another.
"""
