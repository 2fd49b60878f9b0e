"""Yardmaster's server: the document kernel, the planes, the gateway and the services."""

from __future__ import annotations

import warnings

# Connexion imports Starlette's test client, which then warns of a choice that is not the user's to make.
warnings.filterwarnings("ignore", message="Using `httpx` with `starlette.testclient`")
