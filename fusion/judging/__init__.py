"""Judge models: what they are asked, and what is read in their replies.

`judge.judged` asks for a verdict, one judge after the other or all of them as a jury. `prompts` has every text that a
judge model or a debating member is shown, `verdict` the schema and the parser of a verdict, `ranking` how several
verdicts become one.
"""
