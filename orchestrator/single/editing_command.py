"""`augury generate --input-dir`: edits of a folder of images."""

import sys
from pathlib import Path

from orchestrator.single import editing_outcome
from orchestrator.single.editing import Flags, edits_of
from orchestrator.single.editing_folder import EditFolder
from orchestrator.single.editing_money import check_key, money_of
from orchestrator.single.editing_plan import plan_edits
from orchestrator.single.editing_run import Ended, Options, ledger_of, run
from orchestrator.single.editing_sources import find_images
from orchestrator.single.watching import shown

INCOMPLETE = 3
"""Exit code where edits are left."""


def edit(
    flags: Flags,
    input_dir: Path,
    output_dir: Path,
    options: Options,
    skip_bad: bool,
    dry_run: bool,
) -> int:
    """Make the edits of a folder; give the exit code.

    Raises InputError for what the user can mend, before anything is written wherever it can be
    told by then.
    """
    edits = edits_of(flags)
    with shown() as watcher:
        images = find_images(input_dir, skip_bad, watcher)
    folder = EditFolder(output_dir, plan_edits(edits, images))
    folder.check()
    folder.look()
    money = money_of(edits, folder.missing, ledger_of(folder, options))
    print(editing_outcome.opening(folder, money), flush=True)
    if warning := editing_outcome.coarse(folder.plan):
        print(warning, file=sys.stderr, flush=True)
    if dry_run:
        print(editing_outcome.dry(folder))
        return 0
    if money is not None:
        money.check()
    if folder.missing:
        check_key(edits)
    with shown() as watcher:
        ended: Ended = run(folder, options, watcher)
    print(editing_outcome.closing(folder, ended))
    left = editing_outcome.incomplete(folder, ended)
    if left:
        print(left, file=sys.stderr)
    return INCOMPLETE if left else 0
