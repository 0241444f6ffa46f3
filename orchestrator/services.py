"""Which steps ask a service that costs money, and wait for others to compute."""

from orchestrator.planned import Step
from tasks.edits.keeping import about
from tasks.specs import EditFilesSpec, EditSpec


def service_of(step: Step) -> str | None:
    """The service that a step asks."""
    match step.spec:
        case EditSpec(recipe=recipe):
            editor = recipe.editor
        case EditFilesSpec(editor=editor):
            pass
        case _:
            return None
    return editor.name if about(editor).service else None
