"""The commands that learn from files, judge models and rank offline.

Imports files, ranking, db, worker, and the command line's own options.
"""
