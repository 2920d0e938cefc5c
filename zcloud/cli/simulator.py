"""zcloud agent simulator: simulated hosts, with the session that other commands have."""

from agents.simulator import main as simulator
from zcloud.cli.client import Client


def main(argv: list[str]) -> int:
    """As agents/simulator does; logs in where no session is given (not over TLS, which the command line has not)."""
    options = simulator.parser().parse_args(argv)
    if options.token or options.ca is not None:
        return simulator.main(argv)
    with Client(options.server) as client:
        return simulator.main([*argv, "--token", client.token()])
