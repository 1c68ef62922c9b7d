"""The TOML of `--extra-dimensions`: what it may say, and one sentence for each mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.dimensions import ExtraDimension
from schemas.errors import SettingsError
from streams.cli.extra_dimensions import read_extra_dimensions
from streams.embedded.stack import Stack

SINCE_MS = 1_796_083_200_000


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "d.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_a_file_declares_dimensions_with_and_without_a_time(tmp_path: Path) -> None:
    text = """
    [dimensions]
    site = "features.site"
    page = { from = "features.p q", since = 2026-12-01T00:00:00Z }
    app = { from = "features.app", since = 2026-12-01T09:00:00.5+09:00 }
    """
    assert read_extra_dimensions(write(tmp_path, "\ufeff" + text)) == (
        ExtraDimension("app", "features.app", SINCE_MS + 500),
        ExtraDimension("page", "features.p q", SINCE_MS),
        ExtraDimension("site", "features.site"),
    )
    assert read_extra_dimensions(None) == ()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it declares no dimension; write [dimensions]"),
        ("[dimensions]", "it declares no dimension"),
        ("dimensions = 3", "it declares no dimension"),
        ('site = "features.site"', "'site' is no setting; write [dimensions]"),
        ("[dimensions]\nsite = 3", "site does not say where it is from"),
        ("[dimensions]\nsite = { since = 2026-12-01T00:00:00Z }", "site does not say where it is from"),
        ('[dimensions]\nsite = { from = "features.a", till = 1 }', "site.till is no setting; a dimension has"),
        ('[dimensions]\nsite = { from = "features.a", since = 5 }', "site.since is 5; give a time with its zone"),
        (
            '[dimensions]\nsite = { from = "features.a", since = 2026-12-01T00:00:00 }',
            "site.since is 2026-12-01T00:00:00; give a time with its zone",
        ),
        (
            '[dimensions]\nsite = { from = "features.a", since = 2026-12-01 }',
            "site.since is datetime.date(2026, 12, 1)",
        ),
        ('[dimensions]\nsite = { from = "features.a", since = 1999-12-01T00:00:00Z }', "give a time from 2000 to 2099"),
        ('[dimensions]\ndevice = "features.a"', "device is the name of a column that clickfold has already"),
        ('[dimensions]\nSite = "features.a"', "'Site' is no name for a column"),
        ('[dimensions]\nsite = "site"', "site is from 'site', which is no feature; write features. and its name"),
        ("[dimensions]\n" + "\n".join(f'd{n} = "features.f{n}"' for n in range(5)), "5 extra dimensions are declared"),
        ("[dimensions", "is no TOML"),
        (b"\xff", "is not UTF-8 at byte 0"),
    ],
)
def test_a_mistake_is_one_sentence_that_names_the_file(text: str | bytes, why: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    with pytest.raises(SettingsError) as refused:
        read_extra_dimensions(path)
    assert str(refused.value).startswith(f"{path}")
    assert why in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.toml cannot be read: No such file"):
        read_extra_dimensions(tmp_path / "none.toml")


def test_a_folder_of_up_takes_a_new_declaration_and_no_other_option(tmp_path: Path) -> None:
    def stack(*options: str) -> Stack:
        return Stack(tmp_path, options={"join": ["--window", "1m", *options]})

    extra = "--extra-dimensions", "d.toml"
    stack()._keep_options()
    stack(*extra)._check_options()
    with pytest.raises(SettingsError, match="give the same options"):
        stack(*extra, "--skew", "1s")._check_options()
    stack(*extra)._keep_options()
    stack("--extra-dimensions", "e.toml")._check_options()
    with pytest.raises(SettingsError, match="give the same options"):
        stack()._check_options()
