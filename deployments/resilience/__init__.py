"""Wrappers around a Member, each named by its effect. `compose.resilient` puts them in their order."""
