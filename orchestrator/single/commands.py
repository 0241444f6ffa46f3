"""Single steps on plain files, without a study, as commands."""

import typer

from orchestrator.single.fit_command import fit
from orchestrator.single.flags import SPELLING, PlainCommand
from orchestrator.single.generate_command import generate
from orchestrator.single.score_commands import evaluate, infer
from orchestrator.single.set_commands import audit, export, score
from orchestrator.single.train_command import train


def mount(app: typer.Typer) -> None:
    """Add these commands to others."""
    for command in (fit, generate, export, score, audit, train, infer, evaluate):
        app.command(cls=PlainCommand, context_settings=dict(SPELLING))(command)
