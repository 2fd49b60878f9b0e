"""`python -m app.cli`: the same as the `yardmaster` command, where its script is not on the path."""

from __future__ import annotations

from app.cli import main

main()
