"""The configuration file: `schema.ClusterConfig` and its parts, and `loader.load`, which reads a file and says what is
wrong with it. `kubernetes` writes it as KubeRay's manifests, `shipped` has the configurations that come along."""
