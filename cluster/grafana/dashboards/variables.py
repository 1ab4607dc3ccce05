"""What can be chosen above several dashboards, and how a query keeps to it."""

from __future__ import annotations

from cluster.grafana.panels import Variable

APPLICATION = Variable("application", "Application", "ray_fusion_requests_total", "application")


PRESET = Variable("preset", "Preset", "ray_fusion_requests_total", "preset")


MEMBER = Variable("member", "Member", "ray_fusion_candidates_total", "member")


OF_APPLICATION = 'application=~"$application"'


OF_PRESET = f'{OF_APPLICATION},preset=~"$preset"'


OF_MEMBER = f'{OF_APPLICATION},member=~"$member"'
