from __future__ import annotations

from unterbau.declaration import (
    Bucket,
    BucketStatement,
    CertificateAuthority,
    CorsRule,
    LifecycleRule,
    ObjectStorage,
    Password,
    Pki,
    RandomKey,
    S3Group,
    S3Policy,
    S3ServiceAccount,
    S3Statement,
    S3User,
    Secret,
    SecretRef,
    StoragePool,
)

pki = Pki()
secrets = (
    Secret(name="pki/root", kind=CertificateAuthority(common_name="demo root"), rotate_after_days=1825),
    Secret(name="storage/root", kind=Password(length=40)),
    Secret(name="storage/kms-key", kind=RandomKey()),
    Secret(name="s3/writer", kind=Password(length=40)),
)
object_storage = ObjectStorage(pools=(StoragePool(drives=("/mnt/drive-1",)),), parity=2, survives=2)
buckets_platform = (
    Bucket(
        name="backups",
        versioning=True,
        lock_days=30,
        lock_mode="COMPLIANCE",
        lifecycle=(LifecycleRule(name="old", expire_noncurrent_days=60),),
        writers=("writer",),
    ),
)
buckets = (
    Bucket(
        name="site",
        policy=(BucketStatement(actions=("s3:GetObject",), prefixes=("public/*",)),),
        cors=(CorsRule(origins=("https://app.example.com",), methods=("GET",)),),
        quota_gib=10,
    ),
)
s3_policies = (
    S3Policy(name="write", appends_to=("backups",)),
    S3Policy(
        name="read",
        statements=(
            S3Statement(actions=("s3:GetObject", "s3:GetObjectVersion"), resources=("backups/*",)),
            S3Statement(actions=("s3:ListBucket",), resources=("backups",)),
        ),
    ),
    S3Policy(name="all", statements=(S3Statement(actions=("s3:*",), resources=("*",)),)),
)
s3_groups = (S3Group(name="operators", policies=("all", "read")),)
s3_users = (
    S3User(name="writer", secret=SecretRef("s3/writer"), policies=("write",)),
    S3User(name="admin", secret=SecretRef("s3/writer"), groups=("operators",)),
)
s3_service_accounts = (S3ServiceAccount(name="job", user="writer", secret=SecretRef("s3/writer"), policy="write"),)
s3_deletions = ("bucket/old",)
