"""The modules that run, made once for a worker, and compiled into a chain whenever settings change."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

from app.gateway.modules import guardrails
from app.gateway.modules.abrouter import Abrouter
from app.gateway.modules.agegate import Agegate
from app.gateway.modules.agentguard import Agentguard
from app.gateway.modules.anthrofit import Anthrofit
from app.gateway.modules.approvalgate import Approvalgate
from app.gateway.modules.canarydeploy import Canarydeploy
from app.gateway.modules.chainforge import Chainforge
from app.gateway.modules.chaosllm import Chaosllm
from app.gateway.modules.chatmem import Chatmem
from app.gateway.modules.codefence import Codefence
from app.gateway.modules.codelang import Codelang
from app.gateway.modules.consentgate import Consentgate
from app.gateway.modules.contextpack import Contextpack
from app.gateway.modules.contextwindow import Contextwindow
from app.gateway.modules.costpredict import Costpredict
from app.gateway.modules.datamap import Datamap
from app.gateway.modules.embedcache import Embedcache
from app.gateway.modules.embedrouter import Embedrouter
from app.gateway.modules.errornorm import Errornorm
from app.gateway.modules.evalgate import Evalgate
from app.gateway.modules.extractml import Extractml
from app.gateway.modules.geminishim import Geminishim
from app.gateway.modules.guardrail import Guardrail
from app.gateway.modules.hallucicheck import Hallucicheck
from app.gateway.modules.idlekill import Idlekill
from app.gateway.modules.ipfence import Ipfence
from app.gateway.modules.langbridge import Langbridge
from app.gateway.modules.localsync import Localsync
from app.gateway.modules.maskmode import Maskmode
from app.gateway.modules.mirrortest import Mirrortest
from app.gateway.modules.mockllm import Mockllm
from app.gateway.modules.modelswitch import Modelswitch
from app.gateway.modules.multicall import Multicall
from app.gateway.modules.outputcap import Outputcap
from app.gateway.modules.paramnorm import Paramnorm
from app.gateway.modules.partialcache import Partialcache
from app.gateway.modules.personaswitch import Personaswitch
from app.gateway.modules.policyengine import Policyengine
from app.gateway.modules.promptchain import Promptchain
from app.gateway.modules.promptguard import Promptguard
from app.gateway.modules.promptlint import Promptlint
from app.gateway.modules.promptpad import Promptpad
from app.gateway.modules.promptslim import Promptslim
from app.gateway.modules.proxylog import Proxylog
from app.gateway.modules.quotasync import Quotasync
from app.gateway.modules.regionroute import Regionroute
from app.gateway.modules.scopeguard import Scopeguard
from app.gateway.modules.secretscan import Secretscan
from app.gateway.modules.slotfill import Slotfill
from app.gateway.modules.spotprice import Spotprice
from app.gateway.modules.streamcache import Streamcache
from app.gateway.modules.streamthrottle import Streamthrottle
from app.gateway.modules.streamtransform import Streamtransform
from app.gateway.modules.structuredshield import Structuredshield
from app.gateway.modules.summarizegate import Summarizegate
from app.gateway.modules.tableforge import Tableforge
from app.gateway.modules.tenantwall import Tenantwall
from app.gateway.modules.tierdrop import Tierdrop
from app.gateway.modules.tokentrim import Tokentrim
from app.gateway.modules.toolmock import Toolmock
from app.gateway.modules.toolrouter import Toolrouter
from app.gateway.modules.toolshield import Toolshield
from app.gateway.modules.toxicfilter import Toxicfilter
from app.gateway.modules.tracelink import Tracelink
from app.gateway.modules.trust_enforce import TrustEnforce
from app.gateway.modules.visionproxy import Visionproxy
from app.gateway.modules.voicebridge import Voicebridge
from app.gateway.modules.warmpool import Warmpool
from app.gateway.modules.whitelabel import Whitelabel
from app.gateway.patterns import PatternError
from app.gateway.steps import Chain, Module, Place, Steps
from app.gateway.wire import Json
from app.problems import Problem

if TYPE_CHECKING:
    from app.gateway.config import Config
    from app.gateway.exchange import Exchange

log = logging.getLogger("yardmaster.modules")

RULES: Final = "guardrails"
# In the order in which they see a request.
MAKERS: Final[Mapping[str, type[Module]]] = {
    "ipfence": Ipfence,
    "tracelink": Tracelink,
    "whitelabel": Whitelabel,
    "tenantwall": Tenantwall,
    "agentguard": Agentguard,
    "consentgate": Consentgate,
    "modelswitch": Modelswitch,
    "abrouter": Abrouter,
    "tierdrop": Tierdrop,
    "multicall": Multicall,
    "visionproxy": Visionproxy,
    "scopeguard": Scopeguard,
    "policyengine": Policyengine,
    "embedrouter": Embedrouter,
    "canarydeploy": Canarydeploy,
    "regionroute": Regionroute,
    "localsync": Localsync,
    "idlekill": Idlekill,
    "promptguard": Promptguard,
    "secretscan": Secretscan,
    "toxicfilter": Toxicfilter,
    "guardrail": Guardrail,
    "agegate": Agegate,
    "promptpad": Promptpad,
    "personaswitch": Personaswitch,
    "langbridge": Langbridge,
    "slotfill": Slotfill,
    "toolshield": Toolshield,
    "trust_enforce": TrustEnforce,
    "toolrouter": Toolrouter,
    "promptlint": Promptlint,
    "approvalgate": Approvalgate,
    "promptslim": Promptslim,
    "chatmem": Chatmem,
    "contextpack": Contextpack,
    "promptchain": Promptchain,
    "maskmode": Maskmode,
    "chainforge": Chainforge,
    "summarizegate": Summarizegate,
    "tokentrim": Tokentrim,
    "contextwindow": Contextwindow,
    "embedcache": Embedcache,
    "spotprice": Spotprice,
    "quotasync": Quotasync,
    "costpredict": Costpredict,
    "mirrortest": Mirrortest,
    "streamcache": Streamcache,
    "proxylog": Proxylog,
    "paramnorm": Paramnorm,
    "structuredshield": Structuredshield,
    "partialcache": Partialcache,
    "anthrofit": Anthrofit,
    "warmpool": Warmpool,
    "errornorm": Errornorm,
    "datamap": Datamap,
    "mockllm": Mockllm,
    "chaosllm": Chaosllm,
    "geminishim": Geminishim,
    "toolmock": Toolmock,
    "evalgate": Evalgate,
    "codelang": Codelang,
    "codefence": Codefence,
    "hallucicheck": Hallucicheck,
    "tableforge": Tableforge,
    "streamtransform": Streamtransform,
    "extractml": Extractml,
    "voicebridge": Voicebridge,
    "outputcap": Outputcap,
    "streamthrottle": Streamthrottle,
}
# The stored rules, which no toggle switches, come between the choice of a model and the safety modules.
PLACE: Final = tuple(MAKERS).index("promptguard")
ORDER: Final = (*tuple(MAKERS)[:PLACE], RULES, *tuple(MAKERS)[PLACE:])
# The order in which they see an answer: first whether it will do, last how long it may be.
OUTGOING: Final = (
    "geminishim",
    "toolmock",
    "promptchain",
    "evalgate",
    "structuredshield",
    "toolshield",
    "codelang",
    "codefence",
    "hallucicheck",
    "secretscan",
    "toxicfilter",
    "agegate",
    RULES,
    "trust_enforce",
    "tableforge",
    "streamtransform",
    "extractml",
    "voicebridge",
    "outputcap",
    "streamthrottle",
)
# Those that only look at answers.
LEAVING: Final = (
    "geminishim",
    "toolmock",
    "evalgate",
    "codelang",
    "codefence",
    "hallucicheck",
    "tableforge",
    "streamtransform",
    "extractml",
    "voicebridge",
    "outputcap",
    "streamthrottle",
)
NONE: Final = Steps()


def _unusable(name: str, _exchange: Exchange) -> None:
    raise Problem(503, f"The settings of {name} cannot be used", details={"reason": name})


class Modules:
    """One worker's modules; what they count and remember outlives their settings."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._made = {name: make() for name, make in MAKERS.items()}
        for module in self._made.values():
            module.settle_in(place)
        self.rules = guardrails.Guardrails()
        self._enabled: tuple[Module, ...] = ()

    def compiled(self, config: Config) -> Chain:
        """The chain under these settings and the rules stored now."""
        steps = {name: self._steps(name, config) for name in MAKERS if config.on(name)}
        self._enabled = tuple(self._made[name] for name in steps)
        steps[RULES] = self.rules.of(guardrails.stored(self._place.engine))
        return Chain([steps.get(name, NONE) for name in ORDER], [steps.get(name, NONE) for name in OUTGOING])

    def _steps(self, name: str, config: Config) -> Steps:
        """A module's steps. One whose settings cannot be used, as of another release, lets no call pass."""
        try:
            return self._made[name].steps(config.of(name))
        except PatternError as error:
            log.error("the settings of %s cannot be used: %s", name, error)  # noqa: TRY400 (a traceback tells nothing)
            return Steps(request=partial(_unusable, name))

    def tend(self) -> None:
        """Let the enabled ones do what they do beside the calls."""
        for module in self._enabled:
            module.tend()

    def forget(self) -> None:
        """Let go of what modules remember of calls."""
        for module in self._made.values():
            module.forget()

    async def stop(self) -> None:
        """Write what modules have left to write."""
        for module in self._made.values():
            await module.stop()
        await self._place.counts.flush()

    def stats(self, name: str) -> Json:
        """What a module counted in this worker."""
        return self._made[name].stats() if name in self._made else {}
