"""Dashboards for Grafana, written by ``python -m tools.dashboards``; a test asks a Prometheus each of the queries."""
