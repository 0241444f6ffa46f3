"""`augury list`: every name a study can use, in a line of its own."""

import json
import subprocess
import sys

import pytest

from orchestrator.catalogue import LISTS, first_sentence, listing
from orchestrator.study import bundled
from tasks import plugins
from tasks.classifiers import _timm_catalog
from tasks.errors import InputError


def rows(what: str) -> dict[str, str]:
    found = [line.split("  ", 1) for line in listing(what).splitlines()]
    return {name: says.strip() for name, says in found}


@pytest.mark.parametrize(
    "kind", ["datasets", "generators", "augmentations", "companions", "metrics"]
)
def test_every_file_has_a_line(kind: str) -> None:
    found = rows(kind)
    assert tuple(found) == plugins.names(kind)
    assert all(found.values())


def test_classifiers_speak_of_timm_and_aliases() -> None:
    found = rows("classifiers")
    assert found["any timm name"].startswith(f"{len(_timm_catalog.names())} are known")
    assert found["vit_b16"] == "short for vit_base_patch16_224"
    assert _timm_catalog.ALIASES.keys() < found.keys()
    assert "small_cnn" in found
    assert "timm" not in found


def test_studies_show_their_question() -> None:
    found = rows("studies")
    assert found.keys() == bundled().keys()
    assert all(question.endswith("?") for question in found.values())


def test_what_cannot_be_listed_names_what_can() -> None:
    with pytest.raises(InputError) as caught:
        listing("networks")
    assert str(caught.value).startswith("list networks: unknown; choose from: ")
    assert all(what in str(caught.value) for what in LISTS)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("One thing. Another.", "One thing"),
        ("Of R. May and others, 8.5 wide.\n\nMore.", "Of R. May and others, 8.5 wide"),
        ("Over\ntwo lines", "Over two lines"),
        ("", ""),
    ],
)
def test_first_sentence(text: str, sentence: str) -> None:
    assert first_sentence(text) == sentence


def test_listing_and_schema_load_nothing_heavy() -> None:
    code = (
        "import json, sys\n"
        "from orchestrator import catalogue, schema\n"
        "for what in catalogue.LISTS: catalogue.listing(what)\n"
        "schema.study_schema()\n"
        "heavy = {'torch', 'timm', 'sklearn', 'ray', 'mlflow'}\n"
        "print(json.dumps(sorted(heavy & set(sys.modules))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert json.loads(done.stdout) == []
