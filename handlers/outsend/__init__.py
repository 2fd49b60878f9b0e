"""Handlers of the Outsend dialect: jobs, pipelines, monitors and the registry of job types."""
