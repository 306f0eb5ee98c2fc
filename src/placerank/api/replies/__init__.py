"""How routes answer: rendered JSON, problems, and their description in OpenAPI.

Imports requests, cache, db, domain, errors.
"""
