"""The dashboards, a module each, and the `variables` that they share."""
