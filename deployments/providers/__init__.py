"""Remote APIs: one folder for each provider's wire format, and what they share beside them.

`member.RemoteMember` asks a model of any of them; `replica` is its Serve replica. To add a provider, implement
`base.WireFormat` in a folder of its own and name it in `backend.RemoteBackend.wire_format` (docs/adding-a-provider.md).
"""
