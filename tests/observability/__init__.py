"""What the service shows of itself, in the real Prometheus."""
