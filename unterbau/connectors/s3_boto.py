"""boto3's S3 client with nothing ambient in it: no environment, no ~/.aws, no metadata service, no retries."""

from __future__ import annotations

from typing import Any

import boto3
from botocore import xform_name
from botocore.config import Config
from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES, ConfigValueStore, ConstantProvider
from botocore.credentials import Credentials
from botocore.session import Session


def _isolated() -> Session:
    """A session of botocore's in which every setting has its default, wherever the environment says otherwise."""
    made = Session()
    defaults = {name: default for name, (_, _, default, _) in BOTOCORE_DEFAUT_SESSION_VARIABLES.items()}
    values = {**defaults, "config_file": None, "credentials_file": None, "s3": {}, "proxies_config": None}
    store = ConfigValueStore(mapping={name: ConstantProvider(value) for name, value in values.items()})
    made.register_component("config_store", store)
    return made


_BOTOCORE = _isolated()
_BOTO3 = boto3.Session(botocore_session=_BOTOCORE)
_MODEL = _BOTOCORE.get_service_model("s3")
# {method: its HTTP method}. What boto3 adds to them (upload_file …) opens files of this machine: left out.
METHODS: dict[str, str] = {
    xform_name(name): _MODEL.operation_model(name).http["method"] for name in _MODEL.operation_names
}


def s3_client(url: str, region: str, credentials: Credentials) -> Any:
    """A client for one server; whoever makes it answers its event `before-send.s3`."""
    settings = Config(
        signature_version="s3v4",
        s3={"addressing_style": "path"},
        retries={"total_max_attempts": 1, "mode": "standard"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        proxies={},
    )
    key = {"aws_access_key_id": credentials.access_key, "aws_secret_access_key": credentials.secret_key}
    return _BOTO3.client("s3", region, endpoint_url=url, config=settings, **key)
