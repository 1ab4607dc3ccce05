"""The HTTP API: OpenAI's chat completions as an ASGI application, without Ray. `app.http_api` returns it.

`chat_endpoint` answers requests over `asgi`; `chat_schema`, `chat_request` and `openrouter` read a body,
`validation_errors` says what is wrong with one; `chat_response` and `errors` write one; `auth` checks keys; `models`
has what can be asked.
"""
