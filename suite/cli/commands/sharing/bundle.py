"""The command `purebench bundle`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from purebench.cli.options import StoreOption
from purebench.core.files.places import default_store


def bundle(
    board: Annotated[str, typer.Argument(help="The board's name in the store, or the path of its board.yaml.")],
    row: Annotated[str, typer.Argument(help="The row, a defense of the board that was run to its end.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The file to write. Default: ROW.zip.")] = None,
    store: StoreOption = None,
    results: Annotated[
        Path | None,
        typer.Option(help="Check that the result in this folder, in which it is published, is that of the store."),
    ] = None,
) -> None:
    """Write all that is needed to verify a row: result, settings, adversarial examples, keys, versions, hashes.

    Equal records give equal bytes. Runs nothing. Example: purebench bundle fashion-quick trades -o trades.zip
    """
    from purebench.boards.selection import stored_name
    from purebench.checks.verification.settings import check_settings
    from purebench.core.errors import PurebenchError
    from purebench.core.terminal_output import complain, printable
    from purebench.results.files.bundles.bundle import bundle_of
    from purebench.results.files.bundles.writing import make_bundle
    from purebench.results.files.export import write_bytes
    from purebench.results.files.verdicts import check_published

    path = out or Path(f"{row}.zip")
    if path.is_dir():
        raise PurebenchError(f"--out: expected a file to write, but {path} is a folder; name a file in it.")
    data = make_bundle(store or default_store(), stored_name(board), row)
    found = bundle_of(data)
    if results is not None:
        check_published(results, row, found.result_hash)
    write_bytes([(path, data)])
    stored, every = len(found.manifest.examples.stored), sum(one is not None for one in found.manifest.examples.hashes)
    print(printable(f"wrote {path}: {stored} of {every} adversarial examples, {len(data) / 2**20:.1f} MiB"))
    apart, told = check_settings(found, None)
    if apart:
        complain(f"{path}: {told}; a verification leaves the row undecided, unless --board names these settings")
    if found.manifest.code_files:
        print(printable(f"it needs these Python files beside it: {', '.join(found.manifest.code_files)}"))
