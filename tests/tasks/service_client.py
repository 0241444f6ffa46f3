"""A process that asks for edits, and is to be killed: `URL PROVIDER FOLDER COUNT`."""

import sys
from pathlib import Path

from tests.tasks.service_server import Service
from tests.tasks.services import editor_of, edits_of

if __name__ == "__main__":
    url, provider, folder, count = sys.argv[1:]
    editor = editor_of(provider, Service(url=url), Path(folder), concurrency=4, max_cost_usd=50.0)
    edits = edits_of(int(count))
    for start in range(0, len(edits), editor.batch_size):
        for edited in editor.edit(edits[start : start + editor.batch_size]):
            assert edited.image is not None
