"""Runs a request: `runner.fuse` is the entry point.

`round_state` decides, without I/O, when a panel has answered enough; `runner` carries that out. `member_calls` and
`judge_calls` make the calls, `prefill` lets a judge model read candidates early, `accounting` adds up what was used.
"""
