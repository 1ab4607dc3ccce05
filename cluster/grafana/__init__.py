"""Grafana's dashboards and alerts, as code: `manifests` renders them, `push` and `diff` compare them with a Grafana."""
