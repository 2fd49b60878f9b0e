"""Words by which a text tells of a vendor: names, addresses, models; said again with the name of a product."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from app.gateway.providers import PROVIDERS

# Names that are words of any error, too: only where this gateway says them of a provider.
_ORDINARY: Final = frozenset({"fireworks", "perplexity", "replicate", "sandbox", "together", "voyage"})
_FURTHER: Final = (
    "open ai", "chatgpt", "claude", "google", "google cloud", "vertex ai", "amazon", "bedrock", "alibaba", "aliyun",
    "dash scope", "grok", "x.ai", "hugging face", "github", "microsoft", "azure openai", "together ai", "fireworks ai",
    "perplexity ai", "voyage ai", "mistral ai", "meta ai", "llama", "qwen", "kimi",
)  # fmt: skip
_SURE: Final = "|".join(
    re.escape(name) for name in sorted({*_FURTHER, *PROVIDERS.keys() - _ORDINARY}, key=len, reverse=True)
)
# What begins the names of models, and nothing that is said otherwise.
_BEGIN: Final = "|".join(
    re.escape(prefix)
    for provider in PROVIDERS.values()
    for prefix in provider.prefixes
    if prefix.endswith("-") and prefix != "command-"
)
_URL: Final = r"(?:https?://|www\.)[^\s\"'<>()\[\]]{1,2000}[^\s\"'<>()\[\].,:;!?]"
_NUMBER: Final = r"(?<![\w-])(?:org-|proj_|req_|chatcmpl-|toolu_|msg_)\w{6,200}"
_MODEL: Final = (
    rf"(?<![\w-])(?P<model>(?:(?:{_BEGIN})[\w.:@/-]{{0,200}}|o[134](?:-[a-z]{{2,20}})?)(?<![.:@/-]))(?![\w-])"
)
_NAME: Final = rf"(?<![a-z0-9])(?:[\w-]{{1,60}}\.){{0,4}}(?:{_SURE})(?:[._/-][\w./-]{{0,200}}\w)?(?![a-z0-9])"
_OURS: Final = rf"(?:^|(?<=circuit of ))(?:{'|'.join(sorted(_ORDINARY))})\b"
_TELLING: Final = rf"(?P<number>{_NUMBER})|(?P<url>{_URL})|{_MODEL}|{_NAME}|{_OURS}"
_PLAIN: Final = re.compile(_TELLING, re.IGNORECASE)


def unbranded(text: str, product: str, model: str, known: Mapping[str, str]) -> str:
    """The text with the product where it names a vendor; `known` names as they map, other models as `model`."""

    def said(found: re.Match[str]) -> str:
        if (word := found.groupdict().get("known")) is not None:
            return known[word]
        if found["number"]:
            return "[redacted]"
        return model if found["model"] else product

    return _pattern(text, known).sub(said, text)


def _pattern(text: str, known: Mapping[str, str]) -> re.Pattern[str]:
    """What is known comes first, the longest of it before its beginnings; a date may follow a model's name."""
    here = sorted((word for word in known if word and word in text), key=len, reverse=True)
    if not here:
        return _PLAIN
    words = "|".join(map(re.escape, here))
    dated = rf"(?-i:(?<![\w-])(?P<known>{words})(?:-\d{{4}}-?\d{{2}}-?\d{{2}})?(?![\w-]))"
    return re.compile(f"{dated}|{_TELLING}", re.IGNORECASE)
