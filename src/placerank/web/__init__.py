"""The HTML pages, as files.

Imports nothing.
"""
