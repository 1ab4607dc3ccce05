"""Anthropic's Messages API: `messages` writes requests and reads replies and streams, `conversation` turns messages
into Anthropic's turns, `json_schema` closes schemas as the API wants them."""
