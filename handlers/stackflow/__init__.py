"""Handlers of the StackFlow dialect: the service desk."""
