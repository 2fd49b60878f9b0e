"""Prompts on a schedule: their timetable as rows and tasks, and the call that each firing makes."""
