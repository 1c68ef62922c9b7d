"""The password of an embedded ClickHouse, in a file that its owner alone can read.

The file has the format of netrc, so that curl takes it by ``--netrc-file`` and no list of processes shows the password.
"""

import os
import re
import secrets
from pathlib import Path

from schemas.errors import SettingsError

USER = "default"
_FILE = "login.netrc"
# What both curl and this module read from netrc as one word.
_PASSWORD = re.compile(r"[!#-&(-\[\]-~]+")


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


def keep_password(folder: Path, password: str) -> None:
    """Makes `password` the kept one, from the next start of the ClickHouse in `folder` on.

    Raises SettingsError for one that the format of the file cannot hold.
    """
    if not _PASSWORD.fullmatch(password):
        raise SettingsError(
            "CLICKHOUSE_PASSWORD must be printable ASCII without spaces, quotes and backslashes, because it is kept in "
            f"{password_file(folder)}; choose another one, or unset it for a random one"
        )
    _written(password_file(folder), password).replace(password_file(folder))


def _make(path: Path) -> None:
    unfinished = _written(path, secrets.token_urlsafe(24))
    try:
        # Two starts at the same moment take the first one's.
        os.link(unfinished, path)
    except FileExistsError:
        pass
    finally:
        unfinished.unlink()


def _written(path: Path, password: str) -> Path:
    """A whole file to put in the place of `path`, never readable by others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"machine 127.0.0.1 login {USER} password {password}\n")
    return unfinished
