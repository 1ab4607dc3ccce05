"""Remote APIs: one folder a provider's format, and what they share beside them.

`member.RemoteMember` asks any of them, `replica` is its Serve replica. To add a format, implement `base.WireFormat` and
name it in `member.wire_format`. `http`, `sse`, `lenient_json` and `errors` are the ways in and out.
"""
