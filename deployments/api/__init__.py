"""The HTTP API: OpenAI's chat completions as an ASGI application, without Ray. `app.http_api` makes it.

`chat_schema` and `chat_request` read a body, `chat_response` and `errors` write one, `auth` checks keys, `models` knows
what can be asked, and `openrouter` reads OpenRouter's form of a fused request.
"""
