"""`python -m device_agent` is `s4op-agent`."""

from device_agent.cli import main

main()
