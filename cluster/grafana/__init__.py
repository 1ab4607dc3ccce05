"""Grafana as code: dashboards, alert rules, and what brings them into a Grafana or a Kubernetes cluster."""
