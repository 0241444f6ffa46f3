"""`python -m orchestrator` is `augury`."""

from orchestrator.cli import main

main()
