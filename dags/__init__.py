"""Airflow DAGs over `pipeline`; the top layer."""
