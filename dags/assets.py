"""What one DAG makes and another waits for."""

from airflow.sdk import Asset

PREFERENCE_DATASET = Asset(name="preference_dataset", uri="forumprefs://preference-dataset")
"""A version at the Hub; an event's extra is what ``forumprefs publish --json`` prints."""
