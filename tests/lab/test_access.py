"""Who gets in, tried from outside; and what a hand changed, named and healed."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.commands import ADDRESS, changes, on, pins, plan, settled, unterbau
from unterbau.lab.layout import Lab

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("on_the_ground")]

NODE = "wrk-1"
PORT = 8080  # nobody declares it

PROBE = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=2).close()
    print("open")
except OSError as error:
    print(type(error).__name__)
"""
ECHO = """
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("0.0.0.0", 8080))
while True:
    server.sendto(*server.recvfrom(100))
"""
ASK = """
import socket, sys
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.settimeout(2)
client.sendto(bytes.fromhex(sys.argv[3]), (sys.argv[1], int(sys.argv[2])))
try:
    print(len(client.recv(100)))
except OSError as error:
    print(type(error).__name__)
"""
NTP_QUESTION = "23" + 47 * "00"  # version 4, mode client. Source: RFC 5905 7.3.


def python(node: str, script: str, *arguments: str) -> str:
    """Standard output of a Python script on a machine."""
    return on(node, f"python3 -c '{script}' {' '.join(arguments)}").strip()


def from_controller(node: str, port: int) -> str:
    try:
        socket.create_connection((ADDRESS[node], port), timeout=2).close()
    except OSError as error:
        return type(error).__name__
    return "open"


@pytest.fixture
def listening() -> Iterator[None]:
    """TCP and UDP on PORT of NODE are served, for whoever gets through."""
    serve(NODE)
    yield
    on(NODE, "systemctl stop test-tcp test-udp")


def serve(node: str) -> None:
    run = "systemd-run --quiet --collect --unit"
    on(node, f"{run}=test-tcp python3 -m http.server {PORT}; {run}=test-udp python3 -c '{ECHO}'")
    on(node, f"until test $(ss -Hltun sport = :{PORT} | wc -l) -ge 2; do sleep 0.05; done")


def closed_from(node: str) -> None:
    """PORT of NODE answers itself, and neither `node` nor the controller."""
    assert python(NODE, PROBE, "127.0.0.1", str(PORT)) == "open"
    assert python(NODE, ASK, "127.0.0.1", str(PORT), "ff") == "1"
    assert python(node, PROBE, ADDRESS[NODE], str(PORT)) == "TimeoutError"
    assert python(node, ASK, ADDRESS[NODE], str(PORT), "ff") == "TimeoutError"
    assert from_controller(NODE, PORT) == "TimeoutError"


@pytest.mark.usefixtures("listening")
def test_a_port_that_nobody_declared_is_closed_from_outside() -> None:
    closed_from("wrk-2")
    on(NODE, f"nft insert rule inet unterbau input udp dport {PORT} accept")
    on(NODE, f"nft insert rule inet unterbau input tcp dport {PORT} accept")
    assert python("wrk-2", PROBE, ADDRESS[NODE], str(PORT)) == "open"  # it was the firewall, then
    assert python("wrk-2", ASK, ADDRESS[NODE], str(PORT), "ff") == "1"
    assert from_controller(NODE, PORT) == "open"
    heal()
    closed_from("wrk-2")


def test_declared_flows_are_open_and_only_for_whom_they_are_declared() -> None:
    assert from_controller(NODE, 22) == "open"
    assert python("wrk-2", PROBE, ADDRESS[NODE], "22") == "TimeoutError"
    assert python(NODE, ASK, ADDRESS["srv-1"], "123", NTP_QUESTION) == "48"


def test_the_firewall_is_there_again_after_a_restart() -> None:
    assert unterbau("lab", "fault", "reboot", NODE).returncode == 0
    serve(NODE)
    closed_from("wrk-2")
    assert from_controller(NODE, 22) == "open"
    on(NODE, "systemctl stop test-tcp test-udp")
    settled("--limit", NODE)


def ssh(lab: Lab, user: str, *arguments: str, key: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Log in to NODE as `user` with OpenSSH and nothing but this key; BatchMode, so no password is asked for."""
    options = (
        "BatchMode=yes",
        "IdentitiesOnly=yes",
        "StrictHostKeyChecking=yes",
        f"UserKnownHostsFile={pins(lab)}",
    )
    flags = [part for option in options for part in ("-o", option)]
    return subprocess.run(
        ["ssh", "-F", "none", "-i", str(key or lab.key), *flags, *arguments[:-1],
         f"{user}@{ADDRESS[NODE]}", arguments[-1]],
        text=True, capture_output=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_an_operator_logs_in_with_a_key_and_becomes_root(lab: Lab) -> None:
    said = ssh(lab, "operator", "id -un; sudo -n id -un")
    assert (said.returncode, said.stdout.split()) == (0, ["operator", "root"]), said.stderr


def test_a_key_in_an_operators_home_opens_nothing(lab: Lab, tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    public = key.with_suffix(".pub").read_text().strip()
    on(NODE, f"install -d -o operator -m 700 ~operator/.ssh; echo '{public}' >~operator/.ssh/authorized_keys")
    on(NODE, "chown operator ~operator/.ssh/authorized_keys")
    assert "Permission denied (publickey)" in ssh(lab, "operator", "true", key=key).stderr
    on(NODE, "rm -r ~operator/.ssh")


def test_a_key_in_the_home_of_somebody_else_opens_nothing(lab: Lab) -> None:
    on(NODE, f"{GONE} --remove stranger; useradd --create-home --password '*' stranger")
    on(NODE, "install -d -o stranger -m 700 ~stranger/.ssh; cp ~root/.ssh/authorized_keys ~stranger/.ssh/")
    on(NODE, "chown stranger ~stranger/.ssh/authorized_keys")
    try:
        assert "Permission denied (publickey)" in ssh(lab, "stranger", "true").stderr
        on(NODE, "usermod --append --groups root stranger")
        assert ssh(lab, "stranger", "id -un").stdout.strip() == "stranger"  # it was the group, then
    finally:
        on(NODE, f"{GONE} --remove stranger")


@pytest.mark.parametrize("user", ["root", "operator", "nobody"])
def test_no_password_is_ever_asked_for(lab: Lab, user: str) -> None:
    said = ssh(lab, user, "-o", "PubkeyAuthentication=no", "true")
    assert said.returncode == 255
    assert "Permission denied (publickey)." in said.stderr


@pytest.mark.parametrize(
    "option",
    ["Ciphers=aes128-cbc", "MACs=hmac-sha1", "KexAlgorithms=diffie-hellman-group14-sha1", "HostKeyAlgorithms=ssh-rsa"],
)
def test_old_algorithms_are_refused(lab: Lab, option: str) -> None:
    extra = ("-o", "Ciphers=aes256-ctr") if option.startswith("MACs") else ()  # with GCM no MAC is negotiated
    said = ssh(lab, "root", "-o", option, *extra, "true")
    assert said.returncode == 255
    assert "no matching" in said.stderr, said.stderr


DROP_IN = "/etc/ssh/sshd_config.d/00-unterbau.conf"
KEYS = "/etc/ssh/authorized_keys.d/operator"
SUDOERS = "/etc/sudoers.d/unterbau-operators"
GONE = "userdel --force 2>/dev/null"  # from an earlier test: a withdrawn account is not deleted
BROKEN = [  # {what the plan must name: how a hand breaks it}; each group at once, to save time
    {
        DROP_IN: f"sed -i s/^PasswordAuthentication.*/PasswordAuthentication\\ yes/ {DROP_IN}",
        "nft table inet unterbau": "nft add rule inet unterbau input tcp dport 8080 accept",
        KEYS: f"echo 'ssh-ed25519 AAAA x' >>{KEYS}",
        SUDOERS: f"echo 'nobody ALL=(ALL) ALL' >>{SUDOERS}",
        "password of root": "echo root:secret | chpasswd",
    },
    {
        DROP_IN: f"rm {DROP_IN}",
        "nft table inet unterbau": "nft delete table inet unterbau",
        "unterbau-firewall.service enabled": "systemctl disable --quiet unterbau-firewall",
        "operator mallory": f"{GONE} mallory; useradd -G unterbau-operators mallory",
        f"{SUDOERS} mode": f"chmod 644 {SUDOERS}",
    },
    {
        "first line of /etc/ssh/sshd_config": "sed -i /^Include/d /etc/ssh/sshd_config",
        "ssh.service enabled": "systemctl disable --quiet ssh 2>/dev/null",
        "/etc/unterbau/firewall.nft": "echo '# by hand' >>/etc/unterbau/firewall.nft",
        "operator operator shell": "usermod -s /usr/sbin/nologin operator",
        KEYS: f"rm {KEYS}",
    },
    {"sshd": "touch /etc/ssh/sshd_config", "operator operator": "userdel operator", SUDOERS: f"rm {SUDOERS}"},
]


@pytest.mark.parametrize("broken", BROKEN, ids=range(len(BROKEN)))
def test_what_was_broken_by_hand_is_named_and_healed(broken: dict[str, str]) -> None:
    on(NODE, "; ".join(broken.values()))
    code, found = plan("--limit", NODE)
    assert (code, changes(found)) == (2, {(NODE, subject) for subject in broken})
    heal()
    assert plan("--limit", NODE)[0] == 0


def heal() -> None:
    ran = unterbau("apply", "lab", "-y", "--limit", NODE)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_an_account_that_was_added_by_hand_is_closed() -> None:
    on(NODE, f"{GONE} mallory; useradd -G unterbau-operators mallory")
    on(NODE, "systemd-run --quiet --collect --unit=mallory --uid=mallory sleep infinity")
    heal()
    assert on(NODE, "getent shadow mallory | cut -d: -f8; systemctl is-active mallory || true").split() == [
        "1",
        "inactive",
    ]


@pytest.mark.parametrize("line", ["Match User operator\nPasswordAuthentication yes", "Port 2222", "Nonsense yes"])
def test_a_setting_of_another_file_that_wins_over_ours_is_refused_by_name(line: str) -> None:
    path = "/etc/ssh/sshd_config.d/00-by-hand.conf"
    on(NODE, f"printf '{line}\\n' >{path}")
    try:
        code, found = plan("--limit", NODE)
        assert code == 1
        assert path in json.dumps(found["problems"])
    finally:
        on(NODE, f"rm {path}")
        heal()
