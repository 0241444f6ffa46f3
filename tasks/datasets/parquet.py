"""Images in Parquet files: as bytes, as the Hugging Face Hub's `{bytes, path}`, or as paths.

Labels are integers, named by the Hub's metadata where the file has it, or text. Splits are told by
the names of files or their folders (`train-00000.parquet`, `test/0.parquet`), or by a column
`split`; without either a fixed stratified part is the test split.
"""

from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.datasets._parquet import parquet_store
from tasks.datasets._splits import SplitReader
from tasks.specs import STRICT, Locator, NotHashed

VERSION = 1
MAY_HOLD_EDITS = True
"""What users put there may be made from other images, which is looked for."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """Where the files are, and what their columns mean."""

    root: Locator[str]
    """A Parquet file or a folder of them; paths in cells start from that folder."""
    image: Annotated[str | None, NotHashed()] = None
    """Column of images; None finds it. The digests say what was found."""
    label: Annotated[str | None, NotHashed()] = None
    """Column of labels; None finds it."""
    split: Annotated[str | None, NotHashed()] = None
    """Column that says the split of each row; None goes by file names, then by a column `split`."""
    test_fraction: Annotated[float, Field(gt=0, lt=1), NotHashed()] = 0.2
    """Of the training images, where there is no test split; the digests say which it chose."""
    skip_bad: Annotated[bool, NotHashed()] = False
    """Leave out images that cannot be read, and say so; the digest counts what is left."""


def build(config: Config) -> SplitReader:
    """Return the reader."""
    settings = (
        config.root,
        config.image,
        config.label,
        config.split,
        config.test_fraction,
        config.skip_bad,
    )
    return SplitReader(
        name="parquet",
        version=VERSION,
        settings=settings,
        opened=lambda: parquet_store(
            "parquet",
            Path(config.root),
            skip_bad=config.skip_bad,
            image=config.image,
            label=config.label,
            split=config.split,
        ),
        test_fraction=config.test_fraction,
    )
