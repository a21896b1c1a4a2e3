"""``python main.py push RUN --to USER/NAME --what selection|model``: the rows or the model of a run, on the hub."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from selectune.common.errors import UserError
from selectune.common.files import read_mapping
from selectune.common.parser_errors import VerbParser
from selectune.common.run_files import ADAPTER, RunFiles
from selectune.data.data_files import error_summary
from selectune.sharing.cards import CARD, base_of, model_card
from selectune.sharing.chosen import Chosen
from selectune.sharing.export_selection import export_selection

DESCRIPTION = "Put the rows that a run kept, or the model that it trained, on the hub, with a card."


def main(args: list[str]) -> int:
    """Upload, and print the address. Returns the exit code, 0.

    Raises:
        UserError: the run lacks what is asked for, there is no token or network, or the hub refuses.
    """
    parser = VerbParser("push", description=DESCRIPTION)
    parser.add_argument("run", metavar="RUN", type=str, help="Folder that --output of a fit or select named.")
    parser.add_argument(
        "--to", required=True, type=str, metavar="USER/NAME", help="The repository; made where there is none."
    )
    parser.add_argument("--what", required=True, choices=["selection", "model"], help="A data set, or a model.")
    parser.add_argument("--public", action="store_true", help="Let everybody read a repository that is made.")
    given = parser.parse_args(args)
    check_repository(given.to)
    run = Path(given.run)
    if given.what == "model":
        print(push(model_files(run), given.to, "model", not given.public))
        return 0
    with TemporaryDirectory() as folder:
        export_selection(Chosen.read(run), "parquet", exported := Path(folder) / "selection")
        print(push({file.name: file for file in exported.iterdir()}, given.to, "dataset", not given.public))
    return 0


def model_files(run: Path) -> dict[str, Path | bytes]:
    """The files of a run's exported model and its card, by their names in the repository.

    Raises:
        UserError: there is no such run, or it has no exported model.
    """
    export = RunFiles(run).export
    if not export.is_dir():
        raise UserError(f"There is no exported model in {export}; name the run of a finished fit.", path=export)
    files: dict[str, Path | bytes] = {
        file.relative_to(export).as_posix(): file for file in sorted(export.rglob("*")) if file.is_file()
    }
    if ADAPTER in files:
        files[ADAPTER] = _shared_adapter(export / ADAPTER, run)
    return files | {CARD: model_card(run).encode()}


def _shared_adapter(file: Path, run: Path) -> bytes:
    """The config of an adapter, in which its model has a name that means something on other machines."""
    name, base = base_of(run)
    noted = read_mapping(file, "fit again") | {"base_model_name_or_path": base.partition("@")[0] if base else name}
    return (json.dumps(noted, indent=2, sort_keys=True) + "\n").encode()


def check_repository(name: str) -> None:
    """Refuse what is no ``user/name``.

    Raises:
        UserError: it is not.
    """
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(name)
        named = name.count("/") == 1
    except HFValidationError:
        named = False
    if not named:
        raise UserError(
            f"--to is {name!r}, but must be USER/NAME of a repository on the hub; change it.", option="--to"
        )


def push(files: Mapping[str, Path | bytes], to: str, kind: str, private: bool = True) -> str:
    """Put files into a repository of the hub that ``HF_ENDPOINT`` names, in one commit; returns its address.

    Args:
        files: by their names in the repository; others that are there stay.
        to: ``user/name``.
        kind: ``dataset`` or ``model``.
        private: of a repository that is made; one that is there stays as it is.

    Raises:
        UserError: the name is none, there is no token or network, or the hub refuses.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, constants, get_token
    from huggingface_hub.utils import disable_progress_bars

    check_repository(to)
    if constants.is_offline_mode():
        raise UserError("HF_HUB_OFFLINE is set, so nothing can be put on the hub; unset it.")
    if get_token() is None:
        raise UserError("There is no token for the hub; log in with `hf auth login`, or set HF_TOKEN.")
    disable_progress_bars()
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    operations = [CommitOperationAdd(name, content) for name, content in files.items()]
    try:
        made = api.create_repo(to, repo_type=kind, private=private, exist_ok=True)
        api.create_commit(
            to, operations, commit_message="Add a selection" if kind == "dataset" else "Add a model", repo_type=kind
        )
    except Exception as error:  # whatever a hub or a network may answer
        raise UserError(
            f"The hub did not take {to} ({error_summary(error)}); check the name, the network, and that the token may "
            "write."
        ) from error
    return str(made)
