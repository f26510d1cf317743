"""SeaweedFS: what it has of S3, and who may use it, through its IAM API (`weed s3 -iam.readOnly=false`)."""

from __future__ import annotations

import json
from functools import cache
from typing import Any, ClassVar
from urllib.parse import unquote

from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.parsers import create_parser

from unterbau.connectors.endpoint import EndpointError
from unterbau.connectors.s3_engine import EVERYWHERE, Engine
from unterbau.connectors.s3_wire import S3Error

API_VERSION = "2010-05-08"
ARN = "arn:aws:iam:::policy/"
ABSENT, THERE = "NoSuchEntity", "EntityAlreadyExists"


class Iam(Engine):
    """Requests to the part of Amazon's IAM that SeaweedFS speaks."""

    def ask(self, action: str, **parameters: str) -> dict[str, Any]:
        """What a question is answered with."""
        said = self.client.asked("iam", _form(action, parameters), repeatable=True)
        shape = _iam().operation_model(action).output_shape
        answer: dict[str, Any] = create_parser("query").parse({"body": said, "headers": {}, "status_code": 200}, shape)
        if answer.get("IsTruncated"):
            raise EndpointError(f"cannot {action}: found more than one page, which SeaweedFS had none of in 2026")
        return answer

    def tell(self, action: str, unless: str = "", **parameters: str) -> None:
        """Change something; a refusal `unless` means that it is so already."""
        try:
            self.client.asked("iam", _form(action, parameters), repeatable=False)
        except S3Error as error:
            if not unless or error.code != unless:
                raise


class SeaweedFs(Iam):
    """See the module. A user's access key is its name; it keeps one key."""

    name = "seaweedfs"
    features: ClassVar[frozenset[str]] = EVERYWHERE | {"cors", "abort_multipart", "policies", "groups", "users"}
    health = "/healthz"

    def policies(self) -> dict[str, Any]:
        """{name: document}."""
        return {one["PolicyName"]: self._document(one) for one in self.ask("ListPolicies")["Policies"]}

    def _document(self, policy: dict[str, Any]) -> Any:
        version = self.ask("GetPolicyVersion", PolicyArn=policy["Arn"], VersionId=policy["DefaultVersionId"])
        document = version["PolicyVersion"]["Document"]
        return json.loads(unquote(document)) if isinstance(document, str) else document

    def put_policy(self, name: str, document: dict[str, Any]) -> None:
        """Make it so."""
        text = json.dumps(document)
        try:
            self.tell("CreatePolicy", PolicyName=name, PolicyDocument=text)
        except S3Error as error:
            if error.code != THERE:
                raise
            self.tell("CreatePolicyVersion", PolicyArn=ARN + name, PolicyDocument=text, SetAsDefault="true")

    def delete_policy(self, name: str) -> None:
        """Fails while somebody has it."""
        self.tell("DeletePolicy", ABSENT, PolicyArn=ARN + name)

    def groups(self) -> dict[str, Any]:
        """{name: {members, policies, enabled}}."""
        return {one["GroupName"]: self._group(one["GroupName"]) for one in self.ask("ListGroups")["Groups"]}

    def _group(self, name: str) -> dict[str, Any]:
        members = [user["UserName"] for user in self.ask("GetGroup", GroupName=name)["Users"]]
        return {"members": sorted(members), "policies": self._policies_of(group=name), "enabled": True}

    def put_group(self, name: str, enabled: bool = True) -> None:
        """There is such a group."""
        if not enabled:
            raise EndpointError(f"cannot disable the group {name}: seaweedfs has no such state; let its members leave")
        self.tell("CreateGroup", THERE, GroupName=name)

    def delete_group(self, name: str) -> None:
        """With its members' membership."""
        if name not in self.groups():
            return
        found = self._group(name)
        self.detach(found["policies"], group=name)
        self.leave(name, found["members"])
        self.tell("DeleteGroup", ABSENT, GroupName=name)

    def join(self, group: str, users: list[str]) -> None:
        """These users are members."""
        for user in users:
            self.tell("AddUserToGroup", THERE, GroupName=group, UserName=user)

    def leave(self, group: str, users: list[str]) -> None:
        """They are no more."""
        for user in users:
            self.tell("RemoveUserFromGroup", ABSENT, GroupName=group, UserName=user)

    def users(self) -> dict[str, Any]:
        """{name: {enabled, policies, groups}}, without our own; never a secret."""
        names = [user["UserName"] for user in self.ask("ListUsers")["Users"]]
        return {name: self._user(name) for name in names if name != self.client.access_key}

    def _user(self, name: str) -> dict[str, Any]:
        groups = [group["GroupName"] for group in self.ask("ListGroupsForUser", UserName=name)["Groups"]]
        keys = self.ask("ListAccessKeys", UserName=name)["AccessKeyMetadata"]
        enabled = any(key["Status"] == "Active" for key in keys)
        return {"enabled": enabled, "policies": self._policies_of(user=name), "groups": sorted(groups)}

    def put_user(self, name: str, secret: str, enabled: bool = True) -> None:
        """Make it so; whoever has the old secret is out."""
        self.tell("CreateUser", THERE, UserName=name)
        self.tell("DeleteAccessKey", ABSENT, UserName=name, AccessKeyId=name)
        self.tell("CreateAccessKey", UserName=name, AccessKeyId=name, SecretAccessKey=secret)
        if not enabled:
            self.tell("UpdateAccessKey", UserName=name, AccessKeyId=name, Status="Inactive")

    def delete_user(self, name: str) -> None:
        """With its key and its membership."""
        self.tell("DeleteUser", ABSENT, UserName=name)

    def attach(self, policies: list[str], user: str | None = None, group: str | None = None) -> None:
        """The user or group has these policies besides."""
        kind, whom = _whom(user, group)
        for policy in policies:
            self.tell(f"Attach{kind}Policy", PolicyArn=ARN + policy, **whom)

    def detach(self, policies: list[str], user: str | None = None, group: str | None = None) -> None:
        """It has them no more."""
        kind, whom = _whom(user, group)
        for policy in policies:
            self.tell(f"Detach{kind}Policy", ABSENT, PolicyArn=ARN + policy, **whom)

    def _policies_of(self, user: str | None = None, group: str | None = None) -> list[str]:
        kind, whom = _whom(user, group)
        found = self.ask(f"ListAttached{kind}Policies", **whom)["AttachedPolicies"]
        return sorted(policy["PolicyName"] for policy in found)


def _whom(user: str | None, group: str | None) -> tuple[str, dict[str, str]]:
    return ("Group", {"GroupName": group}) if group is not None else ("User", {"UserName": user or ""})


def _form(action: str, parameters: dict[str, str]) -> dict[str, str]:
    return {"Action": action, "Version": API_VERSION, **parameters}


@cache
def _iam() -> ServiceModel:
    return ServiceModel(Loader().load_service_model("iam", "service-2"), "iam")
