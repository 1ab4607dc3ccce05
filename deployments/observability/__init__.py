"""Metrics and traces: `exporter` exports counters through Ray, `tracing` makes OpenTelemetry spans, `identity` names
the replica in both."""
