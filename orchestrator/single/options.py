"""The options that several of the commands for single steps take."""

from typing import Annotated

import typer

Device = Annotated[
    str | None,
    typer.Option("--device", metavar="cpu|cuda", help="Else a GPU where there is one."),
]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, help="On the CPU; else one for each core.")
]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Leave out images that cannot be read, and say so.")
]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]
