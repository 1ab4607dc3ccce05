"""Whether candidates say the same, without asking a model.

`agreement.agreement` compares the candidates of a round: short answers, JSON, code and tool calls by their normal form,
long answers by the words that they share. `normal_form.normal_form` makes two ways to write one value equal.
"""
