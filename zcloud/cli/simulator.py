"""zcloud agent simulator: simulated hosts, with the session and the trust that other commands have."""

import argparse
import tempfile

from agents.simulator import main as simulator
from zcloud.cli import references
from zcloud.cli.client import Client
from zcloud.cli.server import chosen


def main(argv: list[str]) -> int:
    """As agents/simulator does; logs in where no session is given, and takes the cluster's name as well."""
    options = simulator.parser().parse_args(argv)
    server = chosen(argparse.Namespace(server=options.server, ca=options.ca, tls=False, cert=None, key=None))
    words = list(argv)
    with Client(server) as client:
        cluster = references.uuid_of(client, "--cluster", "Cluster", options.cluster)
        if cluster != options.cluster:
            words += ["--cluster", cluster]
        if not options.token:
            words += ["--token", client.token()]
    if not server.tls:
        return simulator.main(words if server.address == options.server else [*words, "--server", server.address])
    words += ["--server", simulator.SECURE + server.address]
    if options.ca is not None or server.trusted is None:
        return simulator.main(words)
    with tempfile.NamedTemporaryFile(prefix="zcloud-ca-") as trusted:
        trusted.write(server.trusted)
        trusted.flush()
        return simulator.main([*words, "--ca", trusted.name, "--server-name", server.name])
