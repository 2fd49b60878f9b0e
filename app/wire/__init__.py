"""The wire: how requests are read and answers are worded, in each dialect."""
