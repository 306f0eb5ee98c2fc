"""The canary: its rules, its rows, and the watch that steps it up or rolls it back.

Imports db, telemetry, domain, errors.
"""
