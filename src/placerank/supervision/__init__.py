"""Keeps a process's long-lived tasks and threads running, or ends the process with an error.

Imports telemetry, errors.
"""
