"""Spending: what counts against budgets, what was spent, and the proof that both are what the traces say."""
