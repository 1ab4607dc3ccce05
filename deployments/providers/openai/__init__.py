"""OpenAI's chat completions: `chat` writes requests and reads replies and streams, `dialects` says how servers that
speak it differ."""
