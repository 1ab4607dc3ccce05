"""OpenTelemetry spans: `provider` exports them, `request_spans` follows a fused request, `members` a call to a member,
`attributes` has what spans say, in the words of the GenAI conventions."""
