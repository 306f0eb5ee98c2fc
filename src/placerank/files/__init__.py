"""Files of places, travellers, impressions and models: reading, checking, atomic writing.

Imports ranking, schema, domain, errors.
"""
