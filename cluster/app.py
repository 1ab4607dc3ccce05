"""Where rendered manifests find the application: `cluster.app:application`."""

from cluster.serving.app import application

__all__ = ["application"]
