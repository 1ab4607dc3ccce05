"""Text without models: `scanner` finds code, tables and formulas, `sanitize` makes untrusted text fit to be shown to a
judge model, `similarity` says how much two texts share, `provenance` which candidates support a part of an answer."""
