"""Code, tables, formulas and citations that a merge takes over byte for byte.

`references.offer_blocks` puts a reference before each such block in the drafts that a judge model is shown;
`expander.expand_references` and, in a stream, `expander.ReferenceExpander` put the blocks into its answer.
"""
