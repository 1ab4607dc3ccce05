"""Wrappers around a member, named by what they do: `limits`, `breaker`, `retries`, `hedging`, `fallbacks`.

`compose.resilient` puts them together and says why in that order; `targets` has who is asked besides a member.
"""
