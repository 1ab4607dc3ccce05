"""Google's Gemini API: `format` puts together `requests` and `conversation` (write bodies), `stream` (reads
completions: a response in one piece is a stream of one chunk) and `errors` (reads error bodies)."""
