"""Anthropic's Messages API: `format` puts together `requests`, `conversation` and `json_schema` (write bodies),
`responses` and `stream` (read completions) and `errors` (reads error bodies)."""
