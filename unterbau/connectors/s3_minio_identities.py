"""MinIO: who may use it."""

from __future__ import annotations

import json
from typing import Any

from unterbau.connectors.s3_minio_admin import Admin
from unterbau.connectors.s3_wire import S3Error

BUILT_IN = frozenset({"consoleAdmin", "diagnostics", "readonly", "readwrite", "writeonly"})


class Identities(Admin):
    """Users, groups, policies and service accounts. What comes with MinIO, and its root, is not told of."""

    def policies(self) -> dict[str, Any]:
        """{name: document}."""
        return {name: document for name, document in self.get("list-canned-policies").items() if name not in BUILT_IN}

    def put_policy(self, name: str, document: dict[str, Any]) -> None:
        """Make it so."""
        self.send("PUT", "add-canned-policy", document, name=name)

    def delete_policy(self, name: str) -> None:
        """Fails while somebody has it."""
        self._gone("DELETE", "remove-canned-policy", "XMinioAdminNoSuchPolicy", name=name)

    def groups(self) -> dict[str, Any]:
        """{name: {members, policies, enabled}}."""
        return {name: _group(self.get("group", group=name)) for name in self.get("groups")}

    def put_group(self, name: str, enabled: bool = True) -> None:
        """There is such a group."""
        self._members(name, [], leave=False)
        self.send("PUT", "set-group-status", group=name, status=_status(enabled))

    def delete_group(self, name: str) -> None:
        """With its members' membership."""
        try:
            if members := _group(self.get("group", group=name))["members"]:
                self._members(name, members, leave=True)
            self._members(name, [], leave=True)  # which deletes an empty one
        except S3Error as error:
            if error.code != "XMinioAdminNoSuchGroup":
                raise

    def join(self, group: str, users: list[str]) -> None:
        """These users are members."""
        self._members(group, users, leave=False)

    def leave(self, group: str, users: list[str]) -> None:
        """They are no more. Nobody to take out is no reason to delete the group."""
        if users:
            self._members(group, users, leave=True)

    def _members(self, group: str, users: list[str], *, leave: bool) -> None:
        self.send("PUT", "update-group-members", {"group": group, "members": users, "isRemove": leave})

    def users(self) -> dict[str, Any]:
        """{name: {enabled, policies, groups}}; never a secret."""
        return {name: _user(found) for name, found in self.get_sealed("list-users").items()}

    def put_user(self, name: str, secret: str, enabled: bool = True) -> None:
        """Make it so; whoever has the old secret is out."""
        self.send_sealed("PUT", "add-user", {"secretKey": secret, "status": _status(enabled)}, accessKey=name)

    def delete_user(self, name: str) -> None:
        """With its service accounts."""
        self._gone("DELETE", "remove-user", "XMinioAdminNoSuchUser", accessKey=name)

    def attach(self, policies: list[str], user: str | None = None, group: str | None = None) -> None:
        """The user or group, disabled or not, has these policies besides."""
        self._set_policies({*self._policies_of(user, group), *policies}, user, group)

    def detach(self, policies: list[str], user: str | None = None, group: str | None = None) -> None:
        """It has them no more."""
        self._set_policies(self._policies_of(user, group) - {*policies}, user, group)

    def _policies_of(self, user: str | None, group: str | None) -> set[str]:
        if group is not None:
            return set(_group(self.get("group", group=group))["policies"])
        return set(_user(self.get("user-info", accessKey=user or ""))["policies"])

    def _set_policies(self, policies: set[str], user: str | None, group: str | None) -> None:
        query = {"policyName": ",".join(sorted(policies)), "userOrGroup": user or group or ""}
        if group is not None or _user(self.get("user-info", accessKey=user or ""))["enabled"]:
            self.send("PUT", "set-user-or-group-policy", isGroup="false" if group is None else "true", **query)
            return
        # MinIO does not find a user that is disabled when it is to give it a policy: it is enabled for this moment.
        self.send("PUT", "set-user-status", accessKey=user or "", status=_status(True))
        try:
            self.send("PUT", "set-user-or-group-policy", isGroup="false", **query)
        finally:
            self.send("PUT", "set-user-status", accessKey=user or "", status=_status(False))

    def service_accounts(self) -> dict[str, Any]:
        """{access key: {user, policy, enabled}}; `policy` is a document, or None for all that the user may do."""
        found = self.get_sealed("list-access-keys-bulk", listType="svcacc-only", all="true")
        names = [account["accessKey"] for own in found.values() for account in own.get("serviceAccounts") or ()]
        return {name: _account(self.get_sealed("info-service-account", accessKey=name)) for name in sorted(names)}

    def put_service_account(self, name: str, user: str, secret: str, policy: dict[str, Any] | None = None) -> None:
        """Make it so. MinIO keeps whose it is for ever: one of another user is an error."""
        try:
            found = self.get_sealed("info-service-account", accessKey=name)
        except S3Error as error:
            if error.status != 404:
                raise
            made = {
                "accessKey": name,
                "secretKey": secret,
                "targetUser": user,
                **({"policy": policy} if policy else {}),
            }
            self.send_sealed("PUT", "add-service-account", made)
            return
        if found["parentUser"] != user:
            raise S3Error(
                f"cannot make the service account {name} of {user}: found one of {found['parentUser']}"
                "; delete it first",
                code="OtherParent",
                status=409,
            )
        changed = {"newSecretKey": secret, "newStatus": "on", "newPolicy": policy or {}}
        self.send_sealed("POST", "update-service-account", changed, accessKey=name)

    def delete_service_account(self, name: str) -> None:
        """Whoever has its key is out."""
        self._gone("DELETE", "delete-service-account", "XMinioInvalidIAMCredentials", accessKey=name)

    def _gone(self, method: str, command: str, absent: str, **query: str) -> None:
        try:
            self.send(method, command, **query)
        except S3Error as error:
            if error.code != absent:
                raise


def _status(enabled: bool) -> str:
    return "enabled" if enabled else "disabled"


def _group(found: dict[str, Any]) -> dict[str, Any]:
    return {
        "members": sorted(found.get("members") or ()),
        "policies": _names(found.get("policy")),
        "enabled": found.get("status") == "enabled",
    }


def _user(found: dict[str, Any]) -> dict[str, Any]:
    return {
        "enabled": found.get("status") == "enabled",
        "policies": _names(found.get("policyName")),
        "groups": sorted(found.get("memberOf") or ()),
    }


def _account(found: dict[str, Any]) -> dict[str, Any]:
    policy = None if found.get("impliedPolicy") else json.loads(found.get("policy") or "null")
    return {"user": found["parentUser"], "policy": policy, "enabled": found.get("accountStatus") == "on"}


def _names(text: str | None) -> list[str]:
    return sorted(name for name in (text or "").split(",") if name)
