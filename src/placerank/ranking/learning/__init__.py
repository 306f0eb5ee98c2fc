"""Training: fits a model to shown lists.

Imports judging, and ranking's lists, model and prior.
"""
