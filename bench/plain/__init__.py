"""The loop as a plain FastAPI and Celery service does it: what placerank is compared with.

One task, ``delay()``, results in Redis, SQLAlchemy, a row for each scored place. Written straight from the tutorials of
its parts, without mistakes put in and without care taken out: a warm model, one process a core, the same ranking.
"""
