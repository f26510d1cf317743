"""Before a member of the storage stops, the gateways let go of it: no request of a client meets its end.

MinIO answers what it was asked before SIGTERM with a closed connection. So its unit, whoever stops it and for whatever
reason, first refuses new connections on the member's port, waits until every gateway has seen that and has nothing
more to get from it, and only then stops it. Nothing of it outlives a killed run: the refusal ends by itself.
"""

from __future__ import annotations

import shlex

from facts.certificate import BUNDLE
from operations.s3_gateway_config import HEADER, STATE_PATH, Gateway

SCRIPT = "/usr/local/lib/unterbau/s3-drain"
DROP_IN = "/etc/systemd/system/minio.service.d/unterbau-drain.conf"
TABLE = "inet unterbau_s3_drain"
LIMIT_S = 30  # for requests under way; a body of many GiB is cut, and its client sees that


def drop_in() -> str:
    """What the member's unit does around its end; `+`: as root, outside of its sandbox."""
    return HEADER + f"[Service]\nExecStop=+-{SCRIPT} begin\nExecStopPost=+-{SCRIPT} end\n"


def script(gateway: Gateway, node: str) -> str:
    """Shell script; `node` is the member on this node."""
    ask = f"curl --silent --fail --noproxy '*' --max-time 1 --cacert {BUNDLE}"
    gateways = " ".join(shlex.quote(f"{address}:{gateway.port}") for address in gateway.gateways)
    return f"""\
#!/bin/sh
{HEADER}
forget() {{ printf 'table {TABLE}\\ndelete table {TABLE}\\n' | nft -f -; }}
# A gateway that does not answer asks for nothing either. What one says: 0 if it is down to it, open requests.
free() {{
  for gateway in {gateways}; do
    said=$({ask} "https://$gateway{STATE_PATH}/{node}") || continue
    [ "$said" = "0 0" ] || return 1
  done
}}
case $1 in
end) forget;;
begin)
  forget
  nft -f - <<'RULES' || exit 0
table {TABLE} {{
	set ports {{
		type inet_service
		flags timeout
		elements = {{ {gateway.member_port} timeout {2 * LIMIT_S}s }}
	}}
	chain input {{
		type filter hook input priority filter - 10
		tcp dport @ports tcp flags & (syn | ack) == syn reject with tcp reset
	}}
}}
RULES
  since=$(date +%s)
  until free || [ $(($(date +%s) - since)) -ge {LIMIT_S} ]; do sleep 0.2; done;;
esac
"""
