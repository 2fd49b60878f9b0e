"""Caps: budgets of keys, users, projects, tiers, models and tags, held by reserving, then settling."""
