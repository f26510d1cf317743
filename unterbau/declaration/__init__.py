"""The typed values that inventories and group data are made of."""

from unterbau.declaration.flow import Flow, flows_of
from unterbau.declaration.keys import PublicKeyFile, public_key_file
from unterbau.declaration.load import Environment, load
from unterbau.declaration.node import Network, Node, hosts
from unterbau.declaration.problems import DeclarationError, Problem, collecting
from unterbau.declaration.ssh import Operator, SshServer
from unterbau.declaration.system import Journal, Kernel, SecurityUpgrades, TimeSync, kernel_of

__all__ = [
    "DeclarationError", "Environment", "Flow", "Journal", "Kernel", "Network", "Node", "Operator", "Problem",
    "PublicKeyFile", "SecurityUpgrades", "SshServer", "TimeSync", "collecting", "flows_of",
    "hosts", "kernel_of", "load", "public_key_file",
]  # fmt: skip
