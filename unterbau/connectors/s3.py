"""`@s3/<name>`: an S3 service as a host, through the SSH connections of its nodes, or directly where it is elsewhere.

A command is `client_method {json}`; the answer is JSON. Methods are those of boto3's S3 client, and:

    describe_buckets {"names": [..]|null}   {name: {versioning, lock, lifecycle, policy, cors, tags, quota_bytes}}
    bucket_usage {"name"}                   {objects, versions, bytes, uploads, complete, retained, …}
    empty_bucket {"name"}                   every version and unfinished upload is deleted
    marks {"kind"}, put_mark {"kind", "name", "hash"}, delete_mark {"kind", "name"}     what is ours
    features {}                             names of what the engine has

and what engines do each in their own way (`s3_engine.COMMANDS`): quotas, identities, the cluster's state, healing.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyinfra.api.host import Host
from typing_extensions import override

from unterbau.connectors.endpoint import Call, EndpointConnector, EndpointError, NotThereError, parsed_method
from unterbau.secrets.hidden import Hidden
from unterbau.secrets.store import StoreError

if TYPE_CHECKING:
    from unterbau.connectors.s3_client import Way
    from unterbau.connectors.s3_commands import Commands

SECRETS_TRIED = 3  # newest first: the servers may have missed a rotation


class S3Connector(EndpointConnector):
    """See the module."""

    layer = "object storage | servers"  # the steps that start, restart or change a member
    _commands: Commands | None = None

    @property
    def commands(self) -> Commands:
        """All that can be asked, made on first use: boto3 takes half a second that other runs need not wait."""
        if self._commands is None:
            from unterbau.connectors.s3_client import Key, S3Client  # noqa: PLC0415
            from unterbau.connectors.s3_commands import Commands  # noqa: PLC0415

            declared = self.host.data.s3
            key = Key(declared.access_key, self._secrets, declared.region)
            self._commands = Commands(S3Client(self._way(), key, self.patience_s), declared.engine)
        return self._commands

    @override
    def makers(self) -> list[Host]:
        members = self.host.data.s3.members
        return list(self.state.inventory.get_group(members)) if members else []

    @override
    def anybody_answers(self) -> bool:
        return self.commands.client.way.answers()

    @override
    def lock(self, holder: str) -> None:
        self.commands.client.way.lock(holder)

    @override
    def disconnect(self) -> None:
        if self._commands is not None:
            self._commands.client.close()
            self._commands = None

    @override
    def parse(self, command: str) -> Call:
        return parsed_method(command, self.commands)

    @override
    def answer(self, call: Call) -> Any:
        try:
            if self.commands.writes(call.verb) and self.commands.client.way.unguarded:
                raise EndpointError(f"cannot {call}: the lock on its members was lost: another run may be at work")
            return self.commands.answer(call)
        except StoreError as error:
            raise NotThereError(f"cannot log in to {self.host.name}: {error}") from error

    def _way(self) -> Way:
        from unterbau.connectors.s3_commands import ENGINES  # noqa: PLC0415
        from unterbau.connectors.s3_members import Direct, ThroughNodes  # noqa: PLC0415

        declared = self.host.data.s3
        if declared.members:
            health = ENGINES[declared.engine].health
            return ThroughNodes(self.state, declared.members, declared.port, self._roots, health)
        return Direct(declared.url, Path(declared.roots).read_text() if declared.roots else None)

    def _secrets(self) -> list[Hidden]:
        return self._keyring().versions(self.host.data.s3.secret, SECRETS_TRIED)
