"""``forumprefs report``: one HTML file with the figures of a dataset and a browser of its rows."""
