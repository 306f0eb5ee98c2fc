"""Rendered answers and wake-ups. Nothing here is the truth: losing it costs speed only."""
