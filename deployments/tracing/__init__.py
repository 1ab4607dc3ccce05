"""OpenTelemetry spans of fused requests, by the conventions for generative AI (`gen_ai.*`)."""
