"""The operator's side: configuration, composition root, life cycle and command line."""
