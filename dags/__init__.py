"""Airflow DAGs over the commands of ``forumprefs``; the top layer.

``plans`` turns parameters into commands without Airflow, ``operators`` runs them, and each DAG has
a file of its own.
"""
