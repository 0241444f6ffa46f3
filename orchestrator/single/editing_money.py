"""What the edits of a service would cost, and whether the budget allows for any."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from orchestrator.dispatch import answers_folder
from orchestrator.ledger import Ledger
from orchestrator.report.wording import counted
from orchestrator.single.editing import Edits
from orchestrator.single.editing_plan import Planned
from tasks import plugins
from tasks.editing import Given
from tasks.edits.answers import JOURNAL, FolderAnswers
from tasks.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Money:
    """What a service is asked, and paid, in US dollars."""

    calls: int
    """Edits that nobody has paid for yet."""
    price_usd: float
    """Of one of them, at most."""
    spent_usd: float
    """Of the budget, by earlier runs."""
    max_cost_usd: float
    unseen: int
    """Calls that were under way when an earlier run was killed, and may be paid twice."""

    @property
    def most_usd(self) -> float:
        """Of all calls; a service may be asked less."""
        return self.calls * self.price_usd

    @property
    def said(self) -> str:
        """In one line."""
        left = self.max_cost_usd - self.spent_usd
        line = (
            f"{counted(self.calls, 'call')} of up to ${self.price_usd:.4g} each, up to "
            f"${self.most_usd:,.2f} in all; ${self.spent_usd:,.2f} of ${self.max_cost_usd:,.2f} "
            f"(--max-cost-usd) are spent"
        )
        if self.most_usd > left:
            line += f", which may do for {int(left / self.price_usd + 1e-9):,} of them"
        if self.unseen:
            line += (
                f"; {counted(self.unseen, 'call')} of an earlier run had no end when it was killed "
                f"and may be paid twice"
            )
        return line

    def check(self) -> None:
        """Raise InputError where not one call is within the budget."""
        left = self.max_cost_usd - self.spent_usd
        if self.calls and self.price_usd > left + 1e-9:
            raise InputError(
                f"--max-cost-usd {self.max_cost_usd:g}: ${self.spent_usd:,.2f} of it are spent, "
                f"and each of {counted(self.calls, 'call')} to come may cost "
                f"${self.price_usd:.4g}: say more"
            )


def money_of(edits: Edits, missing: Sequence[Planned], ledger: Ledger) -> Money | None:
    """What is to be paid; None for editors that are free. Nothing is written.

    Raises InputError for a price that is not known.
    """
    folder = answers_folder(ledger, edits.editor)
    price = edits.price_usd
    if folder is None or price is None:
        return None
    ids = {each.id for each in missing}
    kept = FolderAnswers(folder) if (folder / JOURNAL).exists() else None
    if kept is not None:
        ids = {id for id in ids if (answer := kept.find(id)) is None or answer.status == "failed"}
    return Money(
        calls=len(ids),
        price_usd=price,
        spent_usd=0.0 if kept is None else kept.spent_usd(),
        max_cost_usd=edits.editor.config.max_cost_usd,
        unseen=0 if kept is None else len(ids & set(kept.unseen())),
    )


def check_key(edits: Edits) -> None:
    """Raise InputError where there is no key for a service; whether it is right, is not asked."""
    if edits.about.service:
        with TemporaryDirectory() as folder:
            given = Given(answers=FolderAnswers(Path(folder)))
            plugins.build("editors", edits.editor, given)
