"""PostgreSQL, the truth: pools, named statements and the repositories that run them."""
