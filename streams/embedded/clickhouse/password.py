"""The password of an embedded ClickHouse, in a file that its owner alone can read.

The file has the format of netrc, so that curl takes it by ``--netrc-file`` and no list of processes shows the password.
"""

import os
import secrets
from pathlib import Path

from schemas.errors import SettingsError

USER = "default"
_FILE = "login.netrc"


def password_file(folder: Path) -> Path:
    """Where the password of the ClickHouse in `folder` is kept."""
    return folder / _FILE


def kept_password(folder: Path) -> str:
    """The password of the ClickHouse in `folder`, a random one made at the first call.

    Raises SettingsError when the file has another format, or when others than its owner may read it.
    """
    path = password_file(folder)
    if not path.exists():
        _make(path)
    if path.stat().st_mode & 0o077:
        raise SettingsError(
            f"{path} can be read by other users; run `chmod 600 {path}`, or delete it for a new password"
        )
    words = path.read_text().split()
    if len(words) != 6 or words[4] != "password":
        raise SettingsError(f"{path} is not `machine … login … password …`; delete it and run `clickfold up` again")
    return words[5]


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Whole or not at all, and never readable by others: two starts at the same moment take the first one's.
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"machine 127.0.0.1 login {USER} password {secrets.token_urlsafe(24)}\n")
    try:
        os.link(unfinished, path)
    except FileExistsError:
        pass
    finally:
        unfinished.unlink()
