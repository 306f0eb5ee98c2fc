"""Ranks places for travellers: features, a conditional logit, exact top-k, learning. Pure: no I/O, no settings."""
