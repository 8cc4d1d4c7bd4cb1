"""The DAGs under a real Airflow: `make dags`, in an environment of its own."""
