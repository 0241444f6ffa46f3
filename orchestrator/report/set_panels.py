"""The pictures of synthetic sets as a page shows them: a tile for each set, of every kind."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.report import wording
from orchestrator.report.contact import Pictures, Sheet, joined, most_within, weight
from orchestrator.report.fidelity import groups, set_labels
from orchestrator.report.results import AuditCase, SetResult, SetSample, StudyResult

MOST_TILES = 24
MOST_CLASSES = 20
MOST_IMAGES = 8
"""Of a class, on a sample sheet."""
MOST_PAIRS = 20
PAIRS_ABREAST = 10
MOST_CASES = 12
SHEETS_BYTES, PICTURES_BYTES, CASES_BYTES = 2_500_000, 1_000_000, 500_000
"""Of PNG files, for all sample sheets, for each other kind of picture, and for all audits."""

VISUALS: Mapping[str, tuple[str, str]] = {
    "interpolation": (
        "Latent interpolation",
        "Each row walks between two latent points of one class. Steps that change smoothly speak "
        "against a model that only repeats training images.",
    ),
    "denoising": ("Denoising steps", "Each row is one image on its way out of noise."),
    "reconstruction": (
        "Reconstructions",
        "Each row: a real training image, what the encoder sees of it where that differs, and what "
        "is made of it. Reconstructions are no samples.",
    ),
}
"""Of those that generators are known to draw: title and caption."""


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One sheet of pictures with its name."""

    label: str
    address: str
    """A `data:` address."""
    width: int
    """Pixels, on the screen."""
    is_enlarged: bool
    rows: tuple[str, ...] = ()
    """The names of its rows, where they have some."""


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """Pictures of one kind, a tile for each set."""

    title: str
    caption: str
    tiles: tuple[Tile, ...]


def sheets_of(result: StudyResult) -> dict[str, SetSample]:
    """Key of a set -> its sample sheet."""
    return {sheet.key: sheet for sheet in result.sheets if sheet.key is not None}


def sample_gallery(result: StudyResult) -> Gallery | None:
    """A sheet for the real images and for each set: a row a class, with its name."""
    named = _named_sheets(result)
    if not named:
        return None
    num_classes = min(len(result.classes), MOST_CLASSES)
    sheets = [(label, sheet.images[:num_classes]) for label, sheet in named]
    num_images = most_within(
        SHEETS_BYTES,
        range(MOST_IMAGES, 0, -1),
        lambda count: sum(weight(row[:count] for row in images) for _, images in sheets),
    )
    tiles = [
        _tile(label, joined([row[:num_images] for row in images]), result.classes[: len(images)])
        for label, images in sheets
    ]
    some = num_classes < len(result.classes) or max(len(i) for _, i in sheets) < len(result.classes)
    shown = max(len(images) for _, images in sheets)
    caption = "Up to {} images of each class, in label order{}.".format(
        num_images, f": the first {shown} of {len(result.classes)} classes" if some else ""
    )
    if result.edited_tests or any(each.edited for each in result.sets):
        caption += " Edits stand where their sources do."
    if len(result.sheets) > len(named):
        caption += f" {_left_out(result)}"
    return Gallery(title="Samples", caption=caption, tiles=tuple(filter(None, tiles)))


def _named_sheets(result: StudyResult) -> list[tuple[str, SetSample]]:
    """The real images first, then a sheet for each group of sets."""
    known, labels = sheets_of(result), set_labels(result)
    names = {each.name for each in result.sets}
    unknown = [(s.name, s) for s in result.sheets if s.name not in names]
    chosen = [
        next(((labels[e.key], known[e.key]) for e in group.sets if e.key in known), None)
        for group in groups(result)
    ]
    # Where sheets and sets of a name cannot be matched, one of them still shows what they are.
    lost = [s for s in result.sheets if s.name in names and s not in known.values()]
    others = list({sheet.name: (sheet.name, sheet) for sheet in lost}.values())
    return [*unknown, *filter(None, chosen), *others][:MOST_TILES]


def _left_out(result: StudyResult) -> str:
    """Why some sets have no tile; nothing where all have one."""
    if len(groups(result)) > MOST_TILES:
        return f"No more than {MOST_TILES} tiles are drawn."
    if len(groups(result)) < len(result.sets):
        return "Of sets that differ by their seed alone, one is drawn."
    return ""


def galleries(result: StudyResult) -> tuple[Gallery, ...]:
    """What sets can show beside samples: nearest real images, and how their generators work."""
    chosen = _chosen(result)
    kinds = dict.fromkeys(kind for _, each in chosen for kind in each.visuals)
    order = [kind for kind in VISUALS if kind in kinds]
    order += [kind for kind in kinds if kind not in VISUALS]
    found = [_neighbours(result, chosen), *(_visual(result, kind, chosen) for kind in order)]
    return tuple(gallery for gallery in found if gallery is not None)


def _chosen(result: StudyResult) -> list[tuple[str, SetResult]]:
    """One set of each group, with its name: the first that has something to show."""
    labels = set_labels(result)
    found = []
    for group in groups(result):
        for each in group.sets:
            if each.visuals or each.neighbours or each.map is not None:
                found.append((labels[each.key], each))
                break
    return found[:MOST_TILES]


def neighbour_rows(each: SetResult, num_pairs: int = MOST_PAIRS) -> Pictures:
    """Synthetic images in label order, and below each its nearest real one."""
    pairs = sorted(each.neighbours, key=lambda pair: pair[0])
    if len(pairs) > num_pairs:  # spread over the classes
        pairs = [pairs[place * len(pairs) // num_pairs] for place in range(num_pairs)]
    rows: list[tuple[bytes, ...]] = []
    for start in range(0, len(pairs), PAIRS_ABREAST):
        part = pairs[start : start + PAIRS_ABREAST]
        rows += [tuple(mine for _, mine, _ in part), tuple(real for _, _, real in part)]
    return rows


def _neighbours(result: StudyResult, chosen: Sequence[tuple[str, SetResult]]) -> Gallery | None:
    num_pairs = most_within(
        PICTURES_BYTES,
        (MOST_PAIRS, 10, 5, 3),
        lambda count: sum(weight(neighbour_rows(each, count)) for _, each in chosen),
    )
    tiles = []
    for label, each in chosen:
        rows = neighbour_rows(each, num_pairs)
        names = ("synthetic", "real") * (len(rows) // 2)
        tiles.append(_tile(label, joined(rows), names))
    caption = (
        "Above, synthetic images; below each the real training image that is nearest to it in "
        f"feature space. {_left_out(result)}"
    )
    return _gallery("Nearest real images", caption, tiles)


def _visual(
    result: StudyResult, kind: str, chosen: Sequence[tuple[str, SetResult]]
) -> Gallery | None:
    title, caption = VISUALS.get(kind, (kind, ""))
    drawn = [(label, each.visuals[kind]) for label, each in chosen if each.visuals.get(kind)]
    num_rows = most_within(
        PICTURES_BYTES, range(10, 0, -1), lambda n: sum(weight(rows[:n]) for _, rows in drawn)
    )
    tiles = [_tile(label, joined(rows[:num_rows]), ()) for label, rows in drawn]
    return _gallery(title, f"{caption} {_left_out(result)}", tiles)


def _gallery(title: str, caption: str, tiles: Iterable[Tile | None]) -> Gallery | None:
    drawn = tuple(tile for tile in tiles if tile is not None)
    return Gallery(title=title, caption=caption.strip(), tiles=drawn) if drawn else None


def _tile(label: str, sheet: Sheet | None, rows: Sequence[str]) -> Tile | None:
    if sheet is None:
        return None
    return Tile(
        label=label,
        address=data_address(sheet.png),
        width=sheet.width,
        is_enlarged=sheet.is_enlarged,
        rows=tuple(rows)[: sheet.num_rows],
    )


def data_address(png: bytes) -> str:
    """A picture inside the page."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def case_galleries(result: StudyResult) -> tuple[Gallery, ...]:
    """For each audited set its worst cases, each synthetic image beside the real one it is near."""
    labels = set_labels(result)
    found = [(labels[s.key], s.audit.cases) for s in result.sets if s.audit and s.audit.cases]
    num_cases = most_within(
        CASES_BYTES,
        range(MOST_CASES, 0, -1),
        lambda count: sum(weight(map(_pair, cases[:count])) for _, cases in found),
    )
    return tuple(
        Gallery(
            title=label,
            caption=f"The {wording.counted(min(num_cases, len(cases)), 'worst case')} of "
            f"{len(cases)}"
            if len(cases) > num_cases
            else "",
            tiles=tuple(filter(None, map(_case_tile, cases[:num_cases]))),
        )
        for label, cases in found
    )


def _pair(case: AuditCase) -> tuple[bytes, bytes]:
    return case.synthetic, case.real


def _case_tile(case: AuditCase) -> Tile | None:
    kind = {"exact": "exact copy", "near": "near copy", "feature": "in feature space"}[case.kind]
    distance = "" if case.kind == "exact" else f", distance {wording.significant(case.distance)}"
    return _tile(f"{case.split}: {kind}{distance}", joined([_pair(case)]), ())
