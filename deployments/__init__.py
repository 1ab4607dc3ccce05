"""Ray Serve around the idea: thin wrappers that give `fusion` processes, engines, remote APIs and HTTP.

Start with `judge`, the replica that is both the HTTP ingress and the orchestrator, then `members`, the replicas that it
asks. `vllm` and `providers` are what members speak through, `resilience` is wrapped around them, and `api` is the HTTP
API without Ray. Only picklable values of `fusion` cross from one process to another.
"""
