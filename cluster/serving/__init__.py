"""From a configuration to a running service. `app.build` is the composition root.

`serve` starts a service, `apply` changes a running one, `startup` has what both share; `embedded_model` fetches the
model that the default configuration serves, `haproxy` and `prometheus` start processes beside Ray, `ray_private` has
all uses of private parts of Ray.
"""
