"""What a place and a traveller may hold: types, ranges, spellings, an example.

Imports domain.
"""
