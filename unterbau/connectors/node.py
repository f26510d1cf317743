"""`@node/<name>`: pyinfra's SSH connector, made for nodes at two in the morning.

What differs: TCP_NODELAY (47 ms -> 3 ms a command on a LAN), host keys are pinned and never learned, a network that is
cut or a node that is frozen is an error in seconds, `prove_new_connection` shows that a node can still be entered, and
the facts that a run will ask for, as far as they are those of the last run, are fetched by one command (`prefetch.py`).
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import gevent
from paramiko import SSHException, Transport
from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import ConnectError
from pyinfra.api.state import StateStage
from pyinfra.connectors.base import DataMeta
from pyinfra.connectors.ssh import ConnectorData, SSHConnector, connector_data_meta
from pyinfra.connectors.sshuserclient import SSHClient
from pyinfra.connectors.sshuserclient.client import get_host_keys
from pyinfra.connectors.util import CommandOutput
from typing_extensions import override

from unterbau.connectors.lock import NodeLock
from unterbau.connectors.output import exec_tolerant
from unterbau.connectors.prefetch import OPEN_TIMEOUT_S, Answer, Prefetch, fact_line
from unterbau.connectors.prefetch_memory import Memory, memory_of

CONNECT_TIMEOUT_S = 10
GREETING_S = 3
LOOK_AGAIN_S = 0.5
FACT_TIMEOUT_S = 30
COMMAND_TIMEOUT_S = 900
KEEPALIVE_INTERVAL_S = 5
SILENCE_LIMIT_S = 15

T = TypeVar("T")


class NodeData(ConnectorData):
    """What an inventory may say of a node, beside the keys of pyinfra's SSH connector."""

    ssh_fact_timeout_s: int
    ssh_command_timeout_s: int


def low_latency_transport(sock: Any, **kwargs: Any) -> Transport:
    """Make the transport of a connection whose small packets leave at once and whose loss is noticed."""
    if isinstance(sock, socket.socket):  # not through a ProxyJump, whose socket is a channel
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux: unacknowledged data ends the connection
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENCE_LIMIT_S * 1000)
    return Transport(sock, **kwargs)


class NodeConnector(SSHConnector):
    """SSH to one node; see the module."""

    data_cls: type[NodeData] = NodeData
    data_meta = {  # noqa: RUF012  # a class attribute of pyinfra's
        **connector_data_meta,
        "ssh_fact_timeout_s": DataMeta("Seconds a fact's command may take", FACT_TIMEOUT_S),
        "ssh_command_timeout_s": DataMeta("Seconds an operation's command may take", COMMAND_TIMEOUT_S),
    }
    data: NodeData
    _lock: NodeLock | None = None
    _prefetch: Prefetch | None = None

    @override
    @staticmethod
    def make_names_data(name: str) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
        yield name, {"ssh_hostname": name}, []

    @override
    def make_paramiko_kwargs(self) -> dict[str, Any]:
        get_host_keys.cache.clear()  # pyinfra's: a key may be pinned during a run
        kwargs: dict[str, Any] = super().make_paramiko_kwargs()
        kwargs["_pyinfra_ssh_strict_host_key_checking"] = "yes"  # whatever the data say: never learn a key
        kwargs["_pyinfra_ssh_paramiko_connect_kwargs"] = {
            "timeout": CONNECT_TIMEOUT_S,
            "banner_timeout": CONNECT_TIMEOUT_S,
            "auth_timeout": CONNECT_TIMEOUT_S,
            "transport_factory": low_latency_transport,
            **(kwargs["_pyinfra_ssh_paramiko_connect_kwargs"] or {}),
        }
        return kwargs

    @override
    def connect(self) -> None:
        super().connect()
        self._transport().set_keepalive(KEEPALIVE_INTERVAL_S)
        self._listen_to_commands()
        if self.host.data.get("_sudo"):
            self._check_sudo()

    @override
    def disconnect(self) -> None:
        super().disconnect()
        self._remember()
        if self._lock is not None:
            self._lock.release()
        if self.client is not None:
            self.client.close()

    @override
    def run_shell_command(
        self, command: StringCommand, print_output: bool = False, print_input: bool = False, **arguments: Any
    ) -> tuple[bool, CommandOutput]:
        asked_before = self.host.connector_data.get("prompted_sudo_password")  # then each line has it in it
        fact = fact_line(command, arguments) if self._looking and not asked_before else None
        limit_s = arguments["_timeout"] = arguments.get("_timeout") or self._default_timeout_s()

        def call() -> tuple[bool, CommandOutput]:
            try:
                self._answer_ahead(fact, limit_s)
                return super(NodeConnector, self).run_shell_command(command, print_output, print_input, **arguments)
            except TimeoutError as error:
                self._transport().close()  # a node that does not answer one question is not asked a second
                raise OSError(f"{self.host.name} did not answer within {limit_s} s") from error

        return self._watched(call)

    @override
    def put_file(self, *args: Any, **kwargs: Any) -> bool:
        self._drop_prefetch()
        return bool(self._watched(lambda: super(NodeConnector, self).put_file(*args, **kwargs)))

    @override
    def get_file(self, *args: Any, **kwargs: Any) -> bool:
        self._drop_prefetch()
        return bool(self._watched(lambda: super(NodeConnector, self).get_file(*args, **kwargs)))

    def await_greeting(self, within_s: float) -> None:
        """Wait until an SSH server greets, so long at most; what is wrong after that, connecting will say."""
        place, ends_s = (self.host.data.ssh_hostname, int(self.host.data.ssh_port)), time.monotonic() + within_s
        while time.monotonic() < ends_s:
            with suppress(OSError), socket.create_connection(place, GREETING_S) as opened:
                if opened.recv(4) == b"SSH-":
                    return
            gevent.sleep(LOOK_AGAIN_S)

    def prove_new_connection(self) -> None:
        """Enter the node by a connection of its own and run `true`; ConnectionError with a sentence if that fails.

        Bounded by CONNECT_TIMEOUT_S. The connection that the run uses proves nothing: it was there before the change.
        """
        kwargs = self.make_paramiko_kwargs()
        client = SSHClient()
        try:
            with gevent.Timeout(CONNECT_TIMEOUT_S, TimeoutError(f"no answer within {CONNECT_TIMEOUT_S} s")):
                client.connect(kwargs.pop("hostname"), **kwargs)
                status = client.exec_command("true")[1].channel.recv_exit_status()
        except (OSError, SSHException, EOFError) as error:  # TimeoutError is an OSError
            raise ConnectionError(f"cannot open a new connection to {self.host.name}: {error}") from error
        finally:
            client.close()
        if status != 0:
            raise ConnectionError(f"cannot run `true` on {self.host.name} by a new connection: exit status {status}")

    def enter_again(self) -> None:
        """After a reboot: another connection in place of the one that went with it, and this run's lock once more.

        ConnectError if the node cannot be entered yet, or if another run has it now; until then no command is sent.
        """
        SSHConnector.disconnect(self)  # forgets its file transfer
        if self._lock is not None:
            self._lock.release()
        if self.client is not None:
            self.client.close()
        self.connect()
        if self._lock is not None:
            self.lock(self._lock.holder)

    def lock(self, holder: str) -> None:
        """Hold this node for one run; raise ConnectError with the present holder if another run has it."""
        try:
            with self._liveness_watch():
                self._lock = NodeLock(self._transport(), holder, sudo=bool(self.host.data.get("_sudo")))
        except (OSError, SSHException, EOFError) as error:
            raise ConnectError(f"cannot lock {self.host.name}: {error}") from error

    @property
    def lock_lost(self) -> bool:
        """Whether this run held the node, and another may be at work there by now."""
        return self._lock is not None and self._lock.lost

    @property
    def _looking(self) -> bool:
        """Whether a deploy is being prepared: only facts are read, and nothing is changed yet."""
        return bool(self.state.current_stage == StateStage.Prepare and self.state.current_deploy_filename)

    def _answer_ahead(self, fact: str | None, limit_s: int) -> None:
        """Have the answer to this fact ready if it was read ahead; forget all if this is no fact."""
        if fact is None:
            self._drop_prefetch()
            return
        if self._prefetch is None:
            memory = self._memory()
            self._prefetch = Prefetch(memory.read() if memory else ())
            self._prefetch.begin(lambda: self._transport().open_session(timeout=OPEN_TIMEOUT_S))
        self._asked[fact] = None
        answer = self._prefetch.take(fact, limit_s)
        self._check_connection()
        if answer is not None:
            self._answers[fact] = answer

    def _drop_prefetch(self) -> None:
        self._prefetch = self._prefetch or Prefetch()  # nothing is read ahead from now on
        self._prefetch.drop()

    def _remember(self) -> None:
        """For the next run, unless this one asked nothing, or did not get through."""
        asked = tuple(self._asked) if self._prefetch is not None else ()
        memory = self._memory() if asked and self.host not in self.state.failed_hosts else None
        if memory is not None and asked != memory.read():
            memory.write(asked)

    def _memory(self) -> Memory | None:
        port, user = str(self.data["ssh_port"] or ""), self.data["ssh_user"] or ""
        node = (self.host.name, self.data["ssh_hostname"] or "", port, user)
        return memory_of(node, self.data["ssh_key"], self.state.cwd)

    def _listen_to_commands(self) -> None:
        """Of a new connection: nothing was asked on it yet, and nothing read ahead."""
        assert self.client is not None  # noqa: S101  # for the type checker: connected
        self._asked: dict[str, None] = {}  # lines of facts, in order
        self._answers: dict[str, Answer] = {}  # what the next call of exec_command with this line gets
        self._prefetch = None
        self.client.exec_command = partial(exec_tolerant, self.client.exec_command, self._answers)  # type: ignore[assignment,method-assign]

    def _check_sudo(self) -> None:
        """Without this, a sudo that asks for a password would ask whoever runs a plan, or hang CI."""
        granted, _output = super().run_shell_command(StringCommand("sudo -n true"), _timeout=CONNECT_TIMEOUT_S)
        if not granted:
            user = self.data["ssh_user"]
            raise ConnectError(f"{user} cannot use sudo without a password there; allow it, or log in as root")

    def _transport(self) -> Transport:
        transport = self.client.get_transport() if self.client is not None else None
        if transport is None:
            raise OSError(f"no connection to {self.host.name}")
        return transport

    def _default_timeout_s(self) -> int:
        preparing = self.state.current_stage < StateStage.Execute
        return int(self.data["ssh_fact_timeout_s" if preparing else "ssh_command_timeout_s"])

    def _watched(self, call: Callable[[], T]) -> T:
        """Run `call`; if the node falls silent meanwhile, the connection is closed and an OSError says so."""
        if self.lock_lost:
            raise OSError(f"the lock on {self.host.name} was lost: another run may be at work there")
        try:
            with self._liveness_watch():
                result = call()
        except (EOFError, SSHException) as error:  # pyinfra knows an OSError as this node's; another may have asked
            if isinstance(error, SSHException) and self._transport().is_active():
                raise
            raise OSError(f"the connection to {self.host.name} was lost") from error
        self._check_connection()
        return result

    def _check_connection(self) -> None:
        if not self._transport().is_active():
            raise OSError(f"the connection to {self.host.name} was lost")

    @contextmanager
    def _liveness_watch(self) -> Iterator[None]:
        watch = gevent.spawn(close_when_silent, self._transport())
        try:
            yield
        finally:
            watch.kill(block=False)


def close_when_silent(transport: Transport) -> None:
    """Ask for a sign of life every KEEPALIVE_INTERVAL_S; close the transport after SILENCE_LIMIT_S without.

    A frozen machine's kernel goes on acknowledging TCP: only an answer of its sshd is a sign of life. It is asked
    twice: a process that had no processor for a while finds the first answer and its patience at an end at once.
    """
    while True:
        gevent.sleep(KEEPALIVE_INTERVAL_S)
        if not (_answers(transport) or _answers(transport)):
            transport.close()
            return


def _answers(transport: Transport) -> bool:
    with gevent.Timeout((SILENCE_LIMIT_S - KEEPALIVE_INTERVAL_S) / 2, False):  # type: ignore[arg-type]  # False: no error
        transport.global_request("keepalive@openssh.com", wait=True)
        return True
    return False
