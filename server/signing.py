"""What a person does with keys: make one, see which one a file holds, sign histories as they are."""

from __future__ import annotations

import sys
from pathlib import Path

from ..tools.workshop import Workshop
from .keys import BadKey, make_key, read_key


def show_key(file: Path) -> None:
    """Makes the secret in `file` where it is not there yet, writes the public key beside it, says both."""
    public = file.with_name(f"{file.name}.pub")
    try:
        made = not file.exists()
        key = make_key(file) if made else read_key(file)
        public.write_bytes(key.public.pem())
    except (BadKey, OSError) as error:
        raise SystemExit(f"edgeopt: {error}") from error
    print(f"{'Made' if made else 'Found'} key {key.public.id}.")
    print(
        f"Secret: {file}. Keep it where only the server's user can read it: not in the workspace, not below an allowed root."
    )
    print(f"Public: {public}. Give it to whoever checks packages: edgeopt verify PACKAGE --key {public.name}")


def sign_histories(shop: Workshop, *, yes: bool) -> None:
    """Signs the histories of a workspace as they are now, after a person has agreed."""
    key = shop.settings.signing_key
    print(
        f"Every history in {shop.settings.workspace} is signed with key {key.public.id if key else 'none'} as it is now. "
        "Whatever was forged, edited or cut off before is vouched for from then on."
    )
    if not yes and not (sys.stdin.isatty() and input("Sign them? [y/N] ").strip().lower() == "y"):
        raise SystemExit("edgeopt: nothing was signed. Say --yes to sign them.")
    done = shop.store.sign_all()
    print(f"{done.signed} histories signed, {done.already} were already.")
    if done.broken:
        raise SystemExit(f"edgeopt: not signed, for an event in them was edited: {', '.join(done.broken)}.")
