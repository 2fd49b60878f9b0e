"""`webhookrelay`: webhooks of third parties, each answered once by a model, whose answer is an event of ours."""
