"""The steps wired into runs, and everything round a run: the command line, runners, the Hub.

``commands`` is what a person types, ``curate`` the main job, ``runners`` where it runs, ``dataset``
what it leaves, ``hub`` where that goes; ``errors`` has every error that a command reports.
"""
