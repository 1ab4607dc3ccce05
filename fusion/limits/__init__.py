"""What a request may not exceed: a model's context, the request's budget, its deadline.

`eligibility` leaves out members that cannot take a request, `fitting` shortens candidates that do not fit a judge model
together, `budget` plans and enforces `max_cost_usd`, `deadline` drops parts of a plan that there is no time for.
"""
