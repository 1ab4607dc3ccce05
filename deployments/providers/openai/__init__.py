"""OpenAI's chat completions: `format` puts together `requests` (writes bodies), `responses` and `stream` (read
completions) and `errors` (reads error bodies); `dialects` has what differs between the servers that copy the API."""
