"""The sandbox: a provider inside this process, deterministic and offline, for trying things and for breaking them.

It speaks OpenAI's wire in real bytes, serves every model name, and answers the same request with the same bytes: text
that says what it received, JSON for a `response_format`, tool calls with arguments made from the tools' schemas,
embeddings by hashing. Tokens are pieces of four characters.

A model whose name starts with `sandbox` may ask for trouble; parts may follow each other in any order:

| in the name | what happens |
|---|---|
| `-slow-250ms` | the response begins after 250 ms |
| `-drip-20ms` | every piece of it takes 20 ms more |
| `-fail-503` | that status, 400 to 599, with an error in OpenAI's envelope; 429 with `retry-after: 1` |
| `-html` | an HTML page instead of JSON, with 200 or the status of `-fail-…` |
| `-truncate` | the body ends half way, as if it were complete |
| `-reset` | the body ends half way with ConnectionResetError |
| `-empty` | no choices, no data |
| `-error-frame` | an error inside a 200: half way through a stream, alone otherwise |
| `-no-usage` | an answer without token counts |
"""

from __future__ import annotations

from app.gateway.providers.openai.wire import OPENAI_WIRE
from app.gateway.providers.sandbox.upstream import post
from app.gateway.wire import Provider

PROVIDER = Provider(
    name="sandbox",
    base_url="sandbox://local/v1",
    wire=OPENAI_WIRE,
    prefixes=("sandbox",),
    transport=post,
)
