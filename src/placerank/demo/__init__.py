"""Made-up places, travellers and choices, seeded.

Imports domain.
"""
