"""The laboratory: the reference network in network namespaces, with real NAT, real port mapping
protocols, packet captures, and the programs under test inside it."""

from .beckon import Beckon, binaries
from .capture import Capture
from .netns import Namespace, sweep
from .network import DEVICE, REQUESTER, ROUTER_A, ROUTER_B, SERVER, ReferenceNetwork
from .process import Process, wait_until
from .services import Nginx, Sshd
from .tables import conntrack, nft_rules

__all__ = [
    "Beckon", "Capture", "DEVICE", "Namespace", "Nginx", "Process", "REQUESTER",
    "ROUTER_A", "ROUTER_B", "ReferenceNetwork", "SERVER", "Sshd", "binaries", "conntrack", "nft_rules",
    "sweep", "wait_until",
]
