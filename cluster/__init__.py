"""The operator's side: from one YAML file to a running service.

`cli` has the commands, `config` the file's schema and its loader, and `serving` builds the Serve application and takes
it through its life. `planning` computes what a model needs, `recordings` reads what was recorded, and `grafana` pushes
dashboards. `app` is the import path that rendered manifests name.
"""
