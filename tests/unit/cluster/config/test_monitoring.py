from cluster.config.monitoring import ObservabilityConfig


def test_ray_is_told_what_is_configured_and_nothing_else() -> None:
    assert ObservabilityConfig().environment() == {}
    assert ObservabilityConfig(prometheus_host="http://p:9090/").environment() == {
        "RAY_PROMETHEUS_HOST": "http://p:9090"
    }
    found = ObservabilityConfig(grafana_host="http://g:3000").environment()
    assert found["RAY_GRAFANA_HOST"] == found["RAY_GRAFANA_IFRAME_HOST"] == "http://g:3000"
    assert found["RAY_PROMETHEUS_NAME"] == "Prometheus"
    assert found["RAY_GRAFANA_SERVE_DASHBOARD_UID"] == "fusion-overview"
    apart = ObservabilityConfig(grafana_host="http://g:3000", grafana_iframe_host="https://grafana.example")
    assert apart.environment()["RAY_GRAFANA_IFRAME_HOST"] == "https://grafana.example"
