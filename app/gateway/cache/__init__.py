"""Answers given again: in this worker's memory first, then in a store that all workers share."""
