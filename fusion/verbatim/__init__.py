"""Code, tables, formulas and citations that a merge takes over byte for byte.

`references` puts a mark before each such block of the candidates that the writing judge model is shown; `restorer` puts
the block into the answer where the mark stands, whole or streamed.
"""
