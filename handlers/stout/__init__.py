"""Handlers of the Stout dialect: the hardware fleet."""
