"""Wrappers around a member, named by what they do: `limits`, `breaker`, `retries`, `hedging`, `fallbacks`.

`deployments.providers.chain` and `deployments.judge.chain` put them together; `resilient` is a member in its wrappers,
`targets` names a member's hedge and fallbacks.
"""
