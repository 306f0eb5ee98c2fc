"""The same loop as a plain FastAPI and Celery service, for the comparison with placerank.

One task, ``delay()``, results in Redis, SQLAlchemy, one row for each scored place. It follows the tutorials of these
libraries and is not slowed down on purpose: the model stays loaded, one process per core, the same ranking.
"""
