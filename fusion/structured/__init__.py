"""Answers with a structure: JSON under a schema, and tool calls.

`admission.admitted` leaves out candidates that break what the request asked for. `field_fusion.fuse_fields` fuses JSON
answers, `tool_vote.vote` chooses among tool calls, `json_schema` checks schemas and values.
"""
