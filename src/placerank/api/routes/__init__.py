"""The routes, one module for each subject.

Imports requests, replies, and what a route works with.
"""
