"""Helpers for sockets.

Imports nothing.
"""
