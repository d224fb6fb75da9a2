"""Whether an address is one of this machine alone."""

from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """Return True if a server on this host can be reached from this machine only."""
    try:
        return host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
