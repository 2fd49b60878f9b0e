"""Training data: well-rated calls as lines of files that a fine-tuning service reads."""
