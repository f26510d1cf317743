"""Buckets, and who may use them. Values of secrets never stand here, only their names."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from unterbau.declaration.base import Declaration, made_of
from unterbau.declaration.explain import near, rule
from unterbau.declaration.fields import Many, Slug, Some, different, matching
from unterbau.declaration.secret import Ref
from unterbau.domain.s3_policy import ACTIONS, Said, appending, unknown_actions

OURS = "unterbau"  # the bucket with the marks of what is ours, and the deploys' own identity
BUILT_IN = ("consoleAdmin", "diagnostics", "readonly", "readwrite", "writeonly")
_RESERVED = r"(?!xn--|sthree-|amzn-s3-demo-)(?!.*(-s3alias|--ol-s3|--x-s3)$)"
_BUCKET = re.compile(_RESERVED + r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")


def bucket_name(text: str) -> str:
    """Without dots: a name with dots fits no wildcard certificate. Source: Amazon S3, "Bucket naming rules"."""
    if not _BUCKET.fullmatch(text):
        raise ValueError("a bucket's name: 3 to 63 of a-z, 0-9 and '-', no '-' at either end, no prefix such as xn--")
    if text == OURS:
        raise ValueError(f"another name: {OURS} is the platform's own bucket")
    return text


def action(text: str) -> str:
    """An action, or a pattern of actions, that means something."""
    if list(unknown_actions([text])):
        raise ValueError(f"an S3 action such as s3:GetObject, or a pattern of them{near(text, ACTIONS)}")
    return text


BucketName = Annotated[str, AfterValidator(bucket_name)]
Action = Annotated[str, AfterValidator(action)]
Effect = Literal["Allow", "Deny"]
Resource = Annotated[
    str,
    matching(r"[a-z0-9*?][a-z0-9*?.-]{0,62}(/[^\x00-\x1f\\\"]+)?", 'a bucket, or keys in it: "backups", "backups/*"'),
]
Prefix = Annotated[str, matching(r"[^\x00-\x1f\\\"]{0,1024}", "the beginning of keys, without control characters")]
OperatorName = Annotated[str, matching(r"(For(Any|All)Values?:)?[A-Z][A-Za-z]+", "a condition such as StringLike")]
ConditionKey = Annotated[str, matching(r"[a-z0-9]+:[A-Za-z0-9/._-]+", "a key such as aws:SourceIp")]
ConditionValues = Annotated[Some[str], AfterValidator(different)]
ConditionMap = dict[OperatorName, dict[ConditionKey, ConditionValues]]
Actions = Annotated[Some[Action], AfterValidator(different)]
Tag = Annotated[str, matching(r"[A-Za-z0-9 +=._:/@-]{1,128}", "a tag: 1 to 128 letters, digits and ' +=._:/@-'")]
Method = Literal["GET", "PUT", "POST", "DELETE", "HEAD"]
Origin = Annotated[
    str, matching(r"\*|https?://[A-Za-z0-9*.-]+(:[0-9]{1,5})?", "an origin such as https://app.example.com")
]
Header = Annotated[str, matching(r"[A-Za-z0-9*-]{1,128}", "a header's name, or '*'")]
Resources = Annotated[Some[Resource], AfterValidator(different)]
Prefixes = Annotated[Some[Prefix], AfterValidator(different)]
Origins = Annotated[Some[Origin], AfterValidator(different)]
Methods = Annotated[Some[Method], AfterValidator(different)]
Headers = Annotated[Many[Header], AfterValidator(different)]
Names = Annotated[Many[Slug], AfterValidator(different)]
# Source: MinIO takes no longer ones for users.
UserKey = Annotated[str, matching(r"[A-Za-z0-9._-]{3,20}", "an access key: 3 to 20 letters, digits, '._-'")]
Buckets = Annotated[Many[BucketName], AfterValidator(different)]
Users = Annotated[Many[UserKey], AfterValidator(different)]
LockMode = Literal["GOVERNANCE", "COMPLIANCE"]


class LifecycleRule(Declaration):
    """What expires by itself. Versions under retention are kept until it has passed."""

    name: Slug = Field(description="unique in the bucket")
    prefix: Prefix = Field("", description="for keys that begin so; by itself for all")
    expire_days: int | None = Field(None, ge=1, le=36500, description="current versions, after they were written")
    expire_noncurrent_days: int | None = Field(None, ge=1, le=36500, description="replaced versions, after that")
    expire_delete_markers: bool = Field(default=False, description="delete markers with nothing left behind them")
    abort_multipart_days: int | None = Field(None, ge=1, le=3650, description="uploads begun and not finished")

    @model_validator(mode="after")
    def _does_something(self) -> LifecycleRule:
        does = (self.expire_days, self.expire_noncurrent_days, self.abort_multipart_days)
        if not any(does) and not self.expire_delete_markers:
            raise rule("expire_days", "a rule that does nothing", "one of the fields expire_… or abort_multipart_days")
        if self.expire_days and self.expire_delete_markers:
            raise rule("expire_delete_markers", "True with expire_days", "one of the two: S3 refuses both in one rule")
        return self


class CorsRule(Declaration):
    """Which pages of other origins may read answers."""

    origins: Origins = Field(description="https://app.example.com, or *")
    methods: Methods = Field(description="GET, PUT, POST, DELETE, HEAD")
    headers: Headers = Field((), description="that a request may carry")
    exposed: Headers = Field((), description="that a page may read")
    max_age_s: int | None = Field(None, ge=0, le=86400, description="how long a browser remembers the answer")


class BucketStatement(Declaration):
    """A statement of a bucket's policy, for requests of whomever."""

    effect: Effect = Field("Allow", description='"Allow" or "Deny"')
    actions: Actions = Field(description="s3:GetObject …, or patterns of them")
    prefixes: Prefixes = Field(("*",), description='patterns of keys; "" is the bucket')
    principals: Some[str] = Field(("*",), description='whose requests; "*" is everybody, also without a key')
    conditions: ConditionMap = Field(default_factory=dict, description="operator -> key -> values")


class S3Statement(Declaration):
    """A statement of an identity's policy. What no statement allows is denied; a Deny wins."""

    effect: Effect = Field("Allow", description='"Allow" or "Deny"')
    actions: Actions = Field(description="s3:GetObject …, or patterns of them")
    resources: Resources = Field(description='"backups", "backups/*"; no arn')
    conditions: ConditionMap = Field(default_factory=dict, description="operator -> key -> values")


Expiries = Many[Annotated[LifecycleRule, made_of(LifecycleRule)]]
CorsRules = Many[Annotated[CorsRule, made_of(CorsRule)]]
BucketStatements = Many[Annotated[BucketStatement, made_of(BucketStatement)]]
S3Statements = Many[Annotated[S3Statement, made_of(S3Statement)]]


class Bucket(Declaration):
    """A bucket, exactly so. Object lock is for ever: it is enabled when the bucket is made, or never."""

    name: BucketName = Field(description="3 to 63 of a-z, 0-9 and '-'")
    versioning: bool = Field(default=False, description="keep replaced and deleted objects as versions; lock needs it")
    lock_days: int | None = Field(None, ge=1, le=36500, description="object lock: each version is kept so long")
    lock_mode: LockMode = Field("GOVERNANCE", description="COMPLIANCE: shortened by nobody")
    lifecycle: Expiries = Field((), description="what expires by itself")
    policy: BucketStatements = Field((), description="what anybody may do; nothing by itself")
    cors: CorsRules = Field((), description="which pages may read it")
    tags: dict[Tag, Tag] = Field(default_factory=dict, description="key -> value")
    quota_gib: int | None = Field(None, ge=1, description="no more is written when it is full")
    writers: Users = Field((), description="users who may write, never delete or shorten: checked")

    @model_validator(mode="after")
    def _lock(self) -> Bucket:
        if self.lock_days and not self.versioning:
            raise rule("versioning", "False with lock_days", "versioning=True: object lock keeps versions")
        if self.lock_mode == "COMPLIANCE" and not self.lock_days:
            raise rule("lock_days", "none with lock_mode='COMPLIANCE'", "lock_days=…, how long versions are kept")
        return self

    @model_validator(mode="after")
    def _rules_once(self) -> Bucket:
        names = [one.name for one in self.lifecycle]
        again = [name for name in names if names.count(name) > 1]
        if again:
            raise rule("lifecycle", f"{again[0]!r} twice", "each rule's name once in the bucket")
        return self


class S3Policy(Declaration):
    """What users and groups that have it may do."""

    name: Slug = Field(description="unique; none of the engine's own")
    statements: S3Statements = Field((), description="what it allows and denies")
    appends_to: Buckets = Field(
        (), description="buckets that it may write, read and list, and never delete or replace in"
    )

    @model_validator(mode="after")
    def _says_something(self) -> S3Policy:
        if not self.statements and not self.appends_to:
            raise rule("statements", "a policy that says nothing", "statements=… or appends_to=…")
        return self

    @property
    def every_statement(self) -> tuple[S3Statement | Said, ...]:
        """The declared ones, and those that `appends_to` stands for."""
        return (*self.statements, *(said for bucket in self.appends_to for said in appending(bucket)))


class S3Group(Declaration):
    """Users with policies in common."""

    name: Slug = Field(description="unique")
    policies: Names = Field((), description="names of S3Policy")


class S3User(Declaration):
    """An identity: its access key is its name."""

    name: UserKey = Field(description="the access key")
    secret: Ref = Field(description="the secret key, by name")
    policies: Names = Field((), description="names of S3Policy")
    groups: Names = Field((), description="names of S3Group")
    enabled: bool = Field(default=True, description="False: it is kept, and may do nothing")


class S3ServiceAccount(Declaration):
    """A second key of a user, perhaps for less."""

    name: UserKey = Field(description="its access key")
    user: UserKey = Field(description="whose it is: a S3User")
    secret: Ref = Field(description="the secret key, by name")
    policy: Slug | None = Field(None, description="a S3Policy that narrows it; by itself all that the user may do")


def buckets_of(host_data: Any) -> tuple[Bucket, ...]:
    """All buckets of a host's data, by name: each layer may add some under `buckets_…`."""
    data = host_data if isinstance(host_data, dict) else host_data.dict()
    found = {id(one): one for name in sorted(data) if is_buckets(name) for one in data[name]}
    return tuple(sorted(found.values(), key=lambda one: str(one.name)))


def is_buckets(name: str) -> bool:
    """Whether a data name holds buckets: `buckets`, or `buckets_` and the layer they belong to."""
    return name == "buckets" or name.startswith("buckets_")
