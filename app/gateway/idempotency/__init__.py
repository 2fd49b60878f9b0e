"""Calls under an `Idempotency-Key`: the first one runs, a repetition gets its answer."""
