"""Airflow DAGs over `pipeline`; the top floor."""
