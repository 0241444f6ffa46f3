"""The options that several of the commands for single steps take."""

from pathlib import Path
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
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", metavar="DIR", help="Class folders; else data/real."),
]
DatasetName = Annotated[
    str | None,
    typer.Option("--dataset", metavar="NAME", help="Instead; see `augury list datasets`."),
]
Root = Annotated[
    str | None, typer.Option("--root", metavar="DIR", help="Where the files of --dataset are.")
]
