"""Judge models: what they are asked, and what is read in their replies.

`judge.ask_verdict` asks for a verdict, of one judge after the other (`succession`) or of all of them as a jury.
`prompts` has every text that a judge model or a debating member is shown, `verdict` the schema and the parser of a
verdict, `ranking` how several verdicts become one.
"""
