"""The process of the lab's cloud: `python -m unterbau.lab.cloud.serve ROOTFS`, for the lab of the environment."""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

from unterbau.lab.cloud.api import CloudApi
from unterbau.lab.cloud.http_face import listening, respond_as_admin, respond_as_api, respond_as_metadata, working
from unterbau.lab.cloud.nspawn import NspawnMachines
from unterbau.lab.layout import CLOUD_FAULTS_PORT, CLOUD_PORT, METADATA_PORT, Lab, lab_from


def serve(lab: Lab, rootfs: Path) -> None:
    """Answer, and do the cloud's work, until the process is told to end. What is in its middle then is begun again."""
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    machines = NspawnMachines(lab, rootfs)
    api = CloudApi((lab.cloud / "token").read_text(), machines, lab.cloud / "state.json")
    api.project.public_ipv4 = lab.public
    machines.revive()
    with ExitStack() as stack:
        stack.enter_context(working(api))
        stack.enter_context(listening(respond_as_metadata(api), (str(lab.gateway), METADATA_PORT)))
        stack.enter_context(listening(respond_as_admin(api), (lab.cloud_address, CLOUD_FAULTS_PORT)))
        stack.enter_context(listening(respond_as_api(api), (lab.cloud_address, CLOUD_PORT)))
        ended.wait()


if __name__ == "__main__":
    serve(lab_from(), Path(sys.argv[1]))
