"""How good a model is: metrics, bootstrap, the gate, counterfactual estimates, the model card.

Imports ranking's lists and model.
"""
