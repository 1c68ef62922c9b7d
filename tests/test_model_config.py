"""The settings of `clickfold learn`: the default is no file, each one changes the model, each mistake is a sentence."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from online_models.mixture.examples import Example
from online_models.mixture.layout import NAMED
from online_models.mixture.model import Mixture
from online_models.mixture.plain import Ftrl
from online_models.mixture.reading import Reader
from online_models.mixture.rows import Fields
from online_models.mixture.selection import Selection
from online_models.mixture.settings import DEFAULTS, MixtureSettings
from schemas.errors import SettingsError, StateMismatch
from streams.cli.commands.learn import learn
from streams.cli.model_config import ModelConfig, config_of, default_text, read_config
from tests.models.clicks import examples

app = typer.Typer()
app.command()(learn)
SMALL = MixtureSettings(slot_bits=12, pair_bits=14)
# A value other than the default for each setting.
OTHERS: dict[str, Any] = {
    "delay_ms": 5_000,
    "only": ("campaign_id", "features.site"),
    "leave_out": ("device",),
    "as_categories": ("features.price",),
    "kept": 0,
    "kept_early": 1,
    "slot_bits": 9,
    "pair_bits": 8,
    "bayes": False,
    "ftrl": False,
    "adagrad": False,
    "counts": False,
    "novelty": False,
}


def run_on(model: Mixture | Ftrl, found: list[Example]) -> np.ndarray:
    lines = [msgspec.json.encode(each) for each in found]
    return model.run(Reader(model.known, model.selection).read(lines, print).rows)


def write(folder: Path, text: str) -> Path:
    path = folder / "model.toml"
    path.write_text(text)
    return path


@pytest.fixture
def outcomes(tmp_path: Path) -> Path:
    path = tmp_path / "outcomes.jsonl"
    path.write_bytes(b"".join(msgspec.json.encode(each) + b"\n" for each in examples(400)))
    return path


def report(*arguments: str | Path) -> dict[str, Any]:
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    if isinstance(result.exception, SettingsError):
        raise result.exception
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_the_printed_default_is_what_holds_without_a_file(outcomes: Path, tmp_path: Path) -> None:
    path = write(tmp_path, default_text())
    assert read_config(path) == ModelConfig()
    assert report(outcomes, "--config", path)["digest"] == report(outcomes)["digest"]


def test_the_printed_default_names_every_setting() -> None:
    printed = tomllib.loads(default_text())
    names = {key for value in printed.values() if isinstance(value, dict) for key in value}
    assert (names - {"policy"}) | {"delay_ms"} == set(MixtureSettings.__struct_fields__) == set(OTHERS)


def test_each_key_of_a_file_reaches_the_model() -> None:
    text = """
        slices = ["device", "country"]
        delay = "5s"
        labels.policy = "reversal"
        fields.only = ["campaign_id", "features.site"]
        numbers.as_categories = ["features.price"]
        crosses = {kept = 0, kept_early = 1}
        hash = {slot_bits = 9, pair_bits = 8}
        experts = {bayes = false, ftrl = false, adagrad = false, counts = false}
    """
    found = config_of(tomllib.loads(text))
    assert found.slices == ("device", "country")
    assert found.learner(grace_ms=0).policy == "reversal"
    assert config_of({}).learner(grace_ms=0).policy == "matched"
    assert found.learns.mixture == MixtureSettings(**{**OTHERS, "leave_out": (), "novelty": True})
    assert config_of(
        tomllib.loads('fields.leave_out = ["device"]\nexperts.novelty = false')
    ).learns.mixture == MixtureSettings(leave_out=("device",), novelty=False)


@pytest.mark.parametrize("name", OTHERS)
def test_each_setting_changes_predictions_digest_and_snapshot(name: str) -> None:
    # More rows than one epoch, so that crosses are chosen.
    found, settings = examples(2_300), msgspec.structs.replace(SMALL, **{name: OTHERS[name]})
    plain, other = Mixture(SMALL), Mixture(settings)
    assert plain.digest() != other.digest()
    with pytest.raises(StateMismatch, match=name):
        other.restore(plain.snapshot())
    assert not np.array_equal(run_on(plain, found), run_on(other, found))
    again = Mixture(settings)
    again.restore(other.snapshot())
    assert again.digest() == other.digest()


def test_settings_that_are_as_by_default_add_nothing_to_the_digest() -> None:
    assert DEFAULTS.changed() == {}
    assert MixtureSettings(kept=99).changed() == {"kept": 99}


@pytest.mark.parametrize("model", [Mixture, Ftrl])
def test_a_field_that_is_left_out_is_as_if_no_row_had_it(model: type[Mixture] | type[Ftrl]) -> None:
    found = examples(1_500)
    without = [
        msgspec.structs.replace(each, creative_id=None, features={"site": (each.features or {})["site"]})
        for each in found
    ]
    expected = run_on(model(DEFAULTS), without)
    left_out = ("creative_id", "features.price", "features.is_", "features.tag_")
    kept = (*(name for name in NAMED if name != "creative_id"), "hour", "features.site")
    for settings in (MixtureSettings(leave_out=left_out), MixtureSettings(only=kept)):
        # Not to the bit: fields have other numbers, so sums have another order.
        assert run_on(model(settings), found) == pytest.approx(expected, rel=1e-9)


def test_numbers_that_are_names_are_categories_by_their_value() -> None:
    known = Fields()
    selection = Selection(MixtureSettings(as_categories=("features.n",)), known)
    field = known.count - 1
    values, fields = np.array([0.0, -0.0, 1.0, 1.0, 1.0]), np.array([field, field, field, field, field + 1])
    numbers, keys = np.array([1, 1, 1, 0, 1], np.uint8), np.full(5, 7, np.uint64)
    _, keys, values, numbers, _ = selection.of(known, np.array([0, 5]), keys, values, numbers, fields)
    assert keys[0] == keys[1] != keys[2]
    # Neither the field's texts nor other fields.
    assert keys[3:].tolist() == [7, 7]
    assert (values.tolist(), numbers.tolist()) == ([1.0] * 5, [0, 0, 0, 0, 1])


def test_an_expert_that_is_off_has_no_share() -> None:
    model = Mixture(msgspec.structs.replace(SMALL, adagrad=False, counts=False, novelty=False, kept=0))
    run_on(model, examples(200))
    shares = model.shares()
    assert {name for name, share in shares.items() if share == 0.0} == {"adagrad", "counts"}
    assert sum(shares.values()) == pytest.approx(1.0)


def test_options_of_the_command_go_before_the_file(outcomes: Path, tmp_path: Path) -> None:
    path = write(tmp_path, 'slices = ["device"]\ndelay = "1h"\n')
    assert report(outcomes, "--config", path)["slices"].keys() == {"device"}
    assert report(outcomes, "--config", path)["auc"] == 0.5
    given = report(outcomes, "--config", path, "--delay", "0s", "--slices", "campaign_id")
    assert given == {**report(outcomes), "rows_per_s": given["rows_per_s"]} | {
        "rows_per_s_second_half": given["rows_per_s_second_half"]
    }


def test_a_name_that_no_row_has_is_said(outcomes: Path, tmp_path: Path) -> None:
    path = write(tmp_path, 'fields.leave_out = ["features.pric", "features.site"]')
    result = CliRunner().invoke(app, [str(outcomes), "--config", str(path)])
    assert result.stderr == f"{path} names features.pric, which no row has\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("experts.bays = true", "'experts.bays' is no setting; did you mean experts.bayes. `clickfold models config`"),
        ("expert.bayes = true", "'expert' is no setting; did you mean experts."),
        ("kept = 3", "'kept' is no setting; did you mean crosses.kept"),
        ('"" = 3', "'' is no setting"),
        ("crosses = 3", r"crosses is 3; it is a section, so write \[crosses\]"),
        ("crosses.kept = true", "crosses.kept is True; give a whole number"),
        ("crosses.kept = 1.5", "crosses.kept is 1.5; give a whole number"),
        ("crosses.kept = -1", "crosses.kept is -1; give a whole number from 0 to 2016"),
        ("crosses.kept_early = 2017", "crosses.kept_early is 2017; give a whole number from 0 to 2016"),
        ("hash.slot_bits = 25", "hash.slot_bits is 25; give a whole number from 8 to 24"),
        ("hash.slot_bits = 7", "hash.slot_bits is 7; give a whole number from 8 to 24"),
        ("hash.pair_bits = 27", "hash.pair_bits is 27; give a whole number from 8 to 26"),
        ("experts.ftrl = 1", "experts.ftrl is 1; give true or false"),
        ('fields.only = "device"', "fields.only is 'device'; give a list of texts"),
        ("fields.only = [1]", r"fields.only is \[1\]; give a list of texts"),
        (
            'fields.only = ["devise"]',
            "fields.only has 'devise', which is no field; give one of campaign_id, .* features.N",
        ),
        ('fields.only = ["features."]', "fields.only has 'features.', which is no field"),
        ('fields.only = ["hour", "hour"]', "fields.only has 'hour' twice; give it once"),
        ('fields = {only = ["hour"], leave_out = ["device"]}', "fields.only and fields.leave_out are both given"),
        ('numbers.as_categories = ["device"]', "numbers.as_categories has 'device', .*; give features.NAME"),
        (f"fields.only = {[f'features.{n}' for n in range(58)]}", "58 features; name at most 57"),
        ('slices = ["user_id"]', "slice 'user_id' is not a field to measure by"),
        ('labels.policy = "never"', "labels.policy is 'never'; give wait, fake_negative, reversal or matched"),
        (
            'challengers = [{name = "b", labels = {policy = "wait"}}]',
            "challenger b: labels.policy is that of all models",
        ),
        ("delay = 30", "delay is 30; give a duration as text"),
        ('delay = "30"', "delay is no duration: .* write it as 30m"),
        ('delay = "32d"', "delay is 2764800000 ms; give a duration from 0s to 31d"),
        ("experts = {bayes=false, ftrl=false, adagrad=false, counts=false, novelty=false}", "at least one of them"),
        ("kept = ", "is no TOML: .*; `clickfold models config`"),
    ],
)
def test_a_mistake_is_one_sentence_with_file_key_value_and_remedy(
    text: str, said: str, tmp_path: Path, outcomes: Path
) -> None:
    path, written = write(tmp_path, text), tmp_path / "predictions.jsonl"
    with pytest.raises(SettingsError, match=said) as error:
        report(outcomes, "--config", path, "--predictions", written)
    assert str(error.value).startswith(f"{path}")
    assert "\n" not in str(error.value)
    assert not written.exists()


def test_bounds_are_inclusive_and_as_many_names_as_have_numbers_may_be_given() -> None:
    names = tuple(f"features.{number}" for number in range(57))
    MixtureSettings(kept=2_016, kept_early=0, slot_bits=24, pair_bits=26, only=names, delay_ms=31 * 86_400_000)
    known = Fields()
    Selection(MixtureSettings(only=names), known)
    assert known.count == len(known.hashes) - 1


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.toml cannot be read: No such file"):
        read_config(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"# \xe9")
    with pytest.raises(SettingsError, match=r"latin\.toml is not UTF-8 at byte 2"):
        read_config(tmp_path / "latin.toml")
