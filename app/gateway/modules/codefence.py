"""Code fence: finds dangerous commands in code that a model wrote, before someone runs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from app.gateway.exchange import Exchange
from app.gateway.modules.detectors import WARN, Detection, Detector, Line
from app.gateway.patterns import linear
from app.gateway.steps import Module, Steps

DANGEROUS: Final[Mapping[str, str]] = {
    "shell": (
        r"\brm\s+-[a-zA-Z]{0,8}[rR][a-zA-Z]{0,8}\s+(?:--no-preserve-root\s+)?[/~*$][^\s;&|]{0,200}"
        r"|\bmkfs(?:\.\w{1,10})?\s+/dev/\w{1,20}|\bdd\s+if=\S{1,100}\s+of=/dev/\w{1,20}|:\(\)\s?\{\s?:\|:&\s?\};:"
        r"|\b(?:curl|wget)\s[^\n|]{1,300}\|\s?(?:sudo\s+)?(?:ba|z)?sh\b|\bchmod\s+-R\s+777\s+/"
    ),
    "python": (
        r"\bos\.system\s?\(|\bsubprocess\.\w{1,20}\([^\n)]{0,200}shell\s?=\s?True|\beval\s?\(\s?input"
        r"|\bshutil\.rmtree\s?\(\s?[\"']/|\bpickle\.loads?\s?\(|\b__import__\s?\(\s?[\"']os[\"']"
    ),
    "javascript": (
        r"\bchild_process\b|\beval\s?\(\s?(?:req|request|location|document|window)\b|\bnew\s+Function\s?\("
        r"|\.innerHTML\s?=\s?(?:req|location|document)\b"
    ),
    "sql": (
        r"\bdrop\s+(?:table|database|schema)\b[^;\n]{0,100}|\btruncate\s+table\s+\S{1,100}"
        r"|\bdelete\s+from\s+[\w.\"`]{1,100}\s?(?:;|\z)|\bupdate\s+[\w.\"`]{1,100}\s+set\s+[^;\n]{1,200}where\s+1\s?=\s?1"
    ),
    "powershell": (
        r"\bremove-item\b[^\n]{0,200}-recurse\b[^\n]{0,100}-force|\binvoke-expression\b|\biex\s?\(|\bformat-volume\b"
        r"|\bset-executionpolicy\s+(?:bypass|unrestricted)"
    ),
    "go": r"\bexec\.Command\s?\(\s?\"(?:sh|bash|cmd)\"|\bos\.RemoveAll\s?\(\s?\"/|\bunsafe\.Pointer\b",
}


class Codefence(Module):
    """Looks at the whole answer: models do not always fence their code."""

    COUNTS = ("block", "redact", "warn")

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """The same for plain answers and streams."""
        action = WARN if settings["action"] == "flag" else settings["action"]
        wanted = [(name, DANGEROUS[name]) for name in DANGEROUS if name in settings["languages"]]
        wanted += [(f"custom_{place}", pattern) for place, pattern in enumerate(settings["patterns"], start=1)]
        detectors = [
            Detector(f"codefence.{name}", "custom", linear(pattern, ignore_case=True), action, "codefence")
            for name, pattern in wanted
        ]
        look = Detection(self.counted)

        def texts(exchange: Exchange) -> Line:
            return Line([look.flow(exchange, detector) for detector in detectors])

        return Steps(texts=texts if detectors else None)
