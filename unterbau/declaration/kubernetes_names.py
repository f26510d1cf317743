"""How Kubernetes writes names, labels, quantities of time and images; each refuses with one sentence."""

from __future__ import annotations

import re
from typing import Annotated
from zoneinfo import available_timezones

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from unterbau.declaration.explain import near
from unterbau.declaration.fields import Many, different, matching
from unterbau.domain import cron

_PART = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_DOMAIN = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*"
_KEY = re.compile(rf"(?:(?P<prefix>{_DOMAIN})/)?{_PART}")
# registry/path:tag, with a digest or without. Source: the distribution project, reference grammar.
_IMAGE = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*)"
    r"(:(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(@(?P<digest>sha256:[0-9a-f]{64}))?"
)


def twice(what: str) -> PydanticCustomError:
    """What a validator of several declarations raises; they are not shown, only what is there twice."""
    return PydanticCustomError("twice", "{allowed}", {"found": f"{what} twice", "allowed": "each once"})


def label_key(text: str) -> str:
    """A name with or without a domain before it. Source: Kubernetes, "Labels and Selectors", syntax."""
    found = _KEY.fullmatch(text)
    if not found or len(found["prefix"] or "") > 253:
        raise ValueError("a label's key: 1 to 63 letters, digits, '._-', after a domain and '/' if it has one")
    return text


def image(text: str) -> str:
    """Pinned: what `latest` means differs from node to node, and from one day to the next."""
    found = _IMAGE.fullmatch(text)
    if not found:
        raise ValueError("an image such as registry.example.com/team/app:1.4.2")
    if not found["digest"] and found["tag"] in (None, "latest"):
        raise ValueError("an image with a tag other than latest, or a digest: registry.example.com/team/app:1.4.2")
    return text


def schedule(text: str) -> str:
    """Five fields that come round."""
    if problem := cron.problem(text):
        raise ValueError(f"a schedule such as '30 2 * * *' ({problem})")
    return text


def time_zone(text: str) -> str:
    """A name of the tz database; the cluster would refuse another one only at run time."""
    known = available_timezones()
    if text not in known or text in ("localtime", "Local", "posixrules"):
        raise ValueError(f"a time zone's name such as Etc/UTC or Europe/Berlin{near(text, known)}")
    return text


# Source: Kubernetes, "Object Names and IDs"; services are RFC 1035 labels, and all ours are.
ObjectName = Annotated[
    str, matching(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", "an object's name: 1 to 63 of a-z, 0-9 and '-', a letter first")
]
# A Job's name is its CronJob's and eleven characters more. Source: Kubernetes, "CronJob", job name.
CronJobName = Annotated[
    str,
    matching(r"[a-z]([a-z0-9-]{0,50}[a-z0-9])?", "a CronJob's name: 1 to 52 of a-z, 0-9 and '-', a letter first"),
]
DottedName = Annotated[
    str, Field(max_length=253), matching(_DOMAIN, "an object's name: labels of a-z, 0-9 and '-' with dots between")
]
# Source: Kubernetes, IANA_SVC_NAME: 15 characters at most, a letter among them.
PortName = Annotated[
    str,
    matching(r"(?=.*[a-z])[a-z0-9](?!.*--)([a-z0-9-]{0,13}[a-z0-9])?", "a port's name: 1 to 15 of a-z, 0-9 and '-'"),
]
DataKey = Annotated[str, matching(r"[A-Za-z0-9._-]{1,253}", "a key: 1 to 253 letters, digits, '._-'")]
EnvName = Annotated[str, matching(r"[A-Za-z_][A-Za-z0-9_]*", "a variable's name: letters, digits, '_', no digit first")]
LabelKey = Annotated[str, AfterValidator(label_key)]
LabelValue = Annotated[str, matching(rf"({_PART})?", "a label's value: 63 letters, digits, '._-' at most")]
LabelKeys = Annotated[Many[LabelKey], AfterValidator(different)]
Labels = dict[LabelKey, LabelValue]
Image = Annotated[str, AfterValidator(image)]
Schedule = Annotated[str, AfterValidator(schedule)]
TimeZone = Annotated[str, AfterValidator(time_zone)]
MountPath = Annotated[
    str, matching(r"(/[A-Za-z0-9._-]+)+", "an absolute path in the container, of letters, digits, '._-'")
]
ObjectNames = Annotated[Many[ObjectName], AfterValidator(different)]
SecretNames = Annotated[Many[DottedName], AfterValidator(different)]
