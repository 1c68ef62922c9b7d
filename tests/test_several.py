"""An option takes all values behind its name, as a shell's glob gives them."""

from streams.cli.several import repeated

NAMES = {"--impressions", "--clicks"}


def test_values_behind_a_name_are_values_of_the_option() -> None:
    given = ["--impressions", "a", "b", "-", "--window", "5m", "--clicks", "k"]
    wanted = ["--impressions", "a", "--impressions", "b", "--impressions", "-", "--window", "5m", "--clicks", "k"]
    assert repeated(given, NAMES) == wanted


def test_a_repeated_name_and_an_equals_sign_mean_the_same() -> None:
    assert repeated(["--clicks=a", "b"], NAMES) == ["--clicks=a", "--clicks", "b"]
    assert repeated(["--clicks", "a", "--clicks", "b"], NAMES) == ["--clicks", "a", "--clicks", "b"]


def test_other_arguments_stay_as_they_are() -> None:
    for args in (["--window", "5m", "x"], ["-p", "a=1", "--", "--clicks", "a", "b"], [], ["--clicks"]):
        assert repeated(args, NAMES) == args
