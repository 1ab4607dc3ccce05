"""How a judge reaches a member, and what every member's replica offers.

`handle.HandleMember` asks through a Serve handle, `local_socket` over a socket on the same machine; `replica` is the
other end of both. `profiled` applies a member's system prompt and sampling, `model_limits` learns what a model takes.
"""
