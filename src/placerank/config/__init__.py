"""Settings from the environment, and the addresses of services in all their spellings.

Imports errors.
"""
