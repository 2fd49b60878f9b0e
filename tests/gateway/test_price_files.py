"""What files of prices promise: read exactly or refused whole, kept whole, and used by the command that shows them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from app.cli.prices import prices as command
from app.gateway.money import NANO, Price, Rates
from app.gateway.prices import PriceFileError, builtin, load_overrides, merge, read_file, save_overrides
from app.gateway.prices.book import PriceBook
from app.gateway.prices.rows import MODES, RATES, price_of, row_of

TABLE = builtin()
Write = Callable[[str, object], Path]
Run = Callable[..., Result]


def row(provider: str = "acme", model: str = "rocket-1", **more: Any) -> dict[str, Any]:
    """A row as a user would write it."""
    return {"provider": provider, "model": model, "input": "1", "output": "2", **more}


def price(provider: str, model: str, dollars: int = 1) -> Price:
    """A price of so many dollars per 1M tokens, in and out."""
    return Price(provider, model, Rates(dollars * NANO, dollars * NANO))


@pytest.fixture
def written(tmp_path: Path) -> Write:
    """Writes a file of the user's, JSON unless it is text already."""

    def write(name: str, content: object) -> Path:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


def faults(path: Path) -> list[tuple[str, str]]:
    """What is wrong with a file that must be refused."""
    with pytest.raises(PriceFileError) as caught:
        read_file(path)
    assert str(path) in str(caught.value)
    return [(fault.where, fault.reason) for fault in caught.value.faults]


@pytest.mark.parametrize("name", ["p.json", "p.yaml", "p.csv"])
def test_every_form_of_a_file_says_the_same(written: Write, name: str) -> None:
    """Whichever form the user likes, no figure passes through a float on the way."""
    text = {
        "p.json": '[{"provider": "acme", "model": "rocket-1", "input": 0.0375, "output": "2", "context": 8000}]',
        "p.yaml": "- provider: acme\n  model: rocket-1\n  input: 0.0375\n  output: 2\n  context: 8000\n",
        "p.csv": "provider,model,input,output,cache_read,context\nacme,rocket-1,0.0375,2,,8000\n",
    }
    expected = Price("acme", "rocket-1", Rates(37_500_000, 2 * NANO), context=8000)
    assert read_file(written(name, text[name])).prices == [expected]


def test_tiers_may_be_written_in_any_order(written: Write) -> None:
    """Read in the wrong order, the highest price would never be reached."""
    steps = [{"above": 20, "input": "4"}, {"above": 10, "input": "3", "output": "5"}]
    (price,) = read_file(written("p.json", [row(tiers=steps)])).prices
    assert [price.rates(count).input // NANO for count in (10, 11, 21)] == [1, 3, 4]
    assert [price.rates(count).output // NANO for count in (10, 11, 21)] == [2, 5, 2]


def test_digits_that_a_float_would_swallow_are_seen(written: Write) -> None:
    """Refused as too fine, rather than taken for 1."""
    text = '[{"provider": "acme", "model": "a", "input": 1.0000000000000000001, "output": 2}]'
    assert faults(written("p.json", text)) == [("models[0] (acme/a)", "input has more than 9 decimals")]


def test_every_bad_row_is_named_and_nothing_is_read(written: Write) -> None:
    """One error a run would take an afternoon; half an import would price half the models wrongly."""
    rows = [row(), row(model=""), row(input="-1", output="x"), row(), 5, row(model="b", mode="audio", colour="red")]
    told = faults(written("p.json", rows))
    assert told == [
        ("models[1] (acme)", "model is missing"),
        ("models[2] (acme/rocket-1)", "input is negative"),
        ("models[2] (acme/rocket-1)", "output is not a number"),
        ("models[3] (acme/rocket-1)", "is here twice"),
        ("models[4]", "is not a mapping of fields"),
        ("models[5] (acme/b)", told[5][1]),
        ("models[5] (acme/b)", f"mode is none of {', '.join(MODES)}"),
    ]
    assert told[5][1].startswith("colour is no field")


def test_a_bad_row_of_a_csv_file_is_named_by_its_line(written: Write) -> None:
    """That is what the user's editor shows."""
    text = "provider,model,input,output\nacme,a,1,2\nacme,b,1\nacme,c,one,2\n"
    assert faults(written("p.csv", text)) == [
        ("line 3 (acme/b)", "output is missing"),
        ("line 4 (acme/c)", "input is not a number"),
    ]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"input": "nan"}, "input is not a finite number"),
        ({"input": True}, "input is not a number"),
        ({"input": "2.5e-06"}, "not per token"),
        ({"input": "1e9"}, "input is above"),
        ({"input": "1.0000000001"}, "more than 9 decimals"),
        ({"context": "1.5"}, "context is not a whole number"),
        ({"date": "yesterday"}, "date is not a date"),
        ({"source": "a\nb"}, "source is not one line"),
        ({"provider": "Ac me"}, "provider does not match"),
        ({"tiers": [{"above": 10, "inptu": "1"}]}, "tiers[0].inptu is no field"),
        ({"tiers": [{"input": "1"}]}, "tiers[0].above is missing"),
        ({"tiers": [{"above": 10}, {"above": 10}]}, "tiers has one threshold twice"),
        ({"tiers": "none"}, "tiers is not a list"),
    ],
)
def test_a_figure_that_cannot_be_meant_is_refused(written: Write, change: dict[str, Any], reason: str) -> None:
    """A price per token read as one per million would show a millionth of the spend."""
    ((where, told),) = faults(written("p.json", [row() | change]))
    assert where.startswith("models[0]")
    assert reason in told


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.json", "{"),
        ("p.json", '{"models": [], "models": []}'),
        ("p.json", '"prices"'),
        ("p.json", '{"unit": "EUR per 1M tokens", "models": []}'),
        ("p.json", "[" * 100_000),
        ("p.json", "\udcff".encode("utf-8", "surrogateescape").decode("latin-1")),
        ("p.yaml", "- a: 1\n  a: 2\n"),
        ("p.yaml", "a: [\n"),
        ("p.csv", 'provider\n"x'),
        ("p.txt", "[]"),
    ],
)
def test_a_file_that_is_no_price_list_is_refused_by_name(written: Write, name: str, text: str) -> None:
    """The error names the file and says why, whatever is inside."""
    assert len(faults(written(name, text))) == 1


def test_a_litellm_price_list_is_read(written: Write) -> None:
    """Many people keep theirs in that form; what is not priced per token is left out and named."""
    listed = {
        "sample_spec": {"litellm_provider": "one of", "input_cost_per_token": 0.0, "mode": "one of: chat"},
        "together_ai/acme/big": {"input_cost_per_token": 1.5000000000000002e-06, "output_cost_per_token": 3e-06},
        "acme/rocket": {
            "litellm_provider": "acme",
            "mode": "responses",
            "max_input_tokens": 1000,
            "input_cost_per_token": 1e-06,
            "output_cost_per_token": 2e-06,
            "cache_read_input_token_cost": 0,
            "input_cost_per_token_above_200k_tokens": 2e-06,
            "output_cost_per_token_above_200k_tokens": 4e-06,
        },
        "free/one": {"input_cost_per_token": 0, "output_cost_per_token": 0, "mode": "chat"},
        "acme/picture": {"litellm_provider": "acme", "mode": "image_generation", "input_cost_per_token": 1e-06},
    }
    rocket, big = (reading := read_file(written("p.json", listed))).prices
    assert (big.provider, big.model, big.base) == ("together", "acme/big", Rates(1_500_000_000, 3 * NANO))
    assert (rocket.provider, rocket.model, rocket.mode, rocket.context) == ("acme", "rocket", "chat", 1000)
    assert rocket.base == Rates(NANO, 2 * NANO)
    assert rocket.tiers == ((200_000, Rates(2 * NANO, 4 * NANO)),)
    assert reading.left_out == ["acme/picture", "free/one", "sample_spec"]


def test_a_litellm_row_that_names_its_provider_wins(written: Write) -> None:
    """Some models are listed twice, bare and with their provider before them."""
    cheap, dear = ({"litellm_provider": "acme", "input_cost_per_token": figure} for figure in (1e-06, 2e-06))
    for listed in ({"m": cheap, "acme/m": dear}, {"acme/m": dear, "m": cheap}):
        assert [price.base.input // NANO for price in read_file(written("p.json", listed)).prices] == [2]


def test_every_bad_row_of_a_litellm_list_is_named(written: Write) -> None:
    """Its keys are the only names its rows have."""
    good = {"litellm_provider": "acme", "input_cost_per_token": 1e-06}
    listed = {"a": good, "b": {"input_cost_per_token": "much"}, "c": good | {"output_cost_per_token": -1}, "d": 5}
    told = faults(written("p.json", listed | {"e f": good}))
    assert [where for where, _ in told] == ["b", "b", "c", "d", "e f"]
    assert "litellm_provider is missing" in told[0][1]
    assert [reason for _, reason in told[1:3]] == [
        "input_cost_per_token is not a number",
        "output_cost_per_token is negative",
    ]


femto = st.integers(0, 100_000).map(lambda thousandths: thousandths * NANO // 1000)


@given(femto, femto, st.none() | femto, st.none() | st.integers(1, 10**6), st.sampled_from(MODES))
def test_a_price_survives_being_written_down(
    one: int, two: int, three: int | None, count: int | None, mode: str
) -> None:
    """What `save` writes `load` reads, to the last digit."""
    before = Price("acme", "m", Rates(one, two, three, reasoning=three), mode=mode, context=count, source="s")
    assert price_of(row_of(before), {}) == before


def test_overrides_are_kept_sorted_and_whole(tmp_path: Path) -> None:
    """One row a line, so that a diff shows what changed, and no scratch file is left behind."""
    path = tmp_path / "prices.json"
    assert load_overrides(path) == []
    (tiered,) = TABLE.rows("gemini", "gemini-2.5-pro")
    save_overrides(path, [price("b", "m"), price("a", "m"), tiered])
    kept = load_overrides(path)
    assert [one.provider for one in kept] == ["a", "b", "gemini"]
    assert kept[2] == tiered
    assert len(path.read_text().splitlines()) == 2 + 3 + 1
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_save_leaves_the_old_prices(tmp_path: Path) -> None:
    """A price list that is lost at a full disk would turn every cost into an unknown one."""
    path = tmp_path / "prices.json"
    save_overrides(path, [price("a", "m")])
    broken = replace(price("a", "n"), source="\udcff")
    with pytest.raises(TypeError):
        save_overrides(path, [broken])
    assert [one.model for one in load_overrides(path)] == ["m"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_save_that_cannot_finish_leaves_no_scratch_file(tmp_path: Path) -> None:
    """A directory in the way stands for any failure after the rows were written."""
    (tmp_path / "prices.json").mkdir()
    with pytest.raises(OSError, match=r"prices\.json"):
        save_overrides(tmp_path / "prices.json", [price("a", "m")])
    assert list(tmp_path.iterdir()) == [tmp_path / "prices.json"]


def test_the_newer_of_two_prices_wins() -> None:
    """Importing a corrected file corrects, and leaves the rest alone."""
    merged = merge([price("a", "m", 1), price("a", "n", 1)], [price("a", "M", 2)])
    assert [(one.model, one.base.input // NANO) for one in merged] == [("M", 2), ("n", 1)]


def test_broken_overrides_are_an_error_that_names_the_file(tmp_path: Path) -> None:
    """Starting without the user's prices would charge the wrong ones in silence."""
    (tmp_path / "prices.json").write_text('{"models": [{"provider": "acme"')
    with pytest.raises(PriceFileError, match=r"prices\.json is no usable price file"):
        load_overrides(tmp_path / "prices.json")


# ---- the command


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs `prices` over a data directory that does not exist yet."""
    return lambda *words: CliRunner().invoke(command, words, obj={"data": tmp_path / "data"}, env={"COLUMNS": "200"})


def test_imported_prices_are_listed_and_shown(written: Write, run: Run) -> None:
    """The whole way of a price: file, data directory, lookup."""
    file = written("p.json", [row(cache_read="0.25"), row(model="rocket-2")])
    assert "2 prices imported" in run("import", str(file)).output
    assert json.loads(run("list", "--provider", "acme", "--json").output)["models"][0]["cache_read"] == "0.25"
    assert json.loads(run("show", "rocket-1-2026-11-21", "--provider", "acme", "--json").output)["model"] == "rocket-1"
    listing = run("list", "--model-prefix", "rocket").output
    assert "acme/rocket-1" in listing
    assert "gpt-4o" not in listing


def test_a_second_import_joins_the_first(written: Write, run: Run) -> None:
    """Correcting one price must not forget the others."""
    run("import", str(written("p.json", [row(), row(model="rocket-2")])))
    assert "3 of your own" in run("import", str(written("q.json", [row(input="5"), row(model="rocket-3")]))).output
    listed = json.loads(run("list", "--provider", "acme", "--json").output)["models"]
    assert [one["input"] for one in listed] == ["5", "1", "1"]


def test_a_file_without_prices_is_no_import(written: Write, run: Run) -> None:
    """An empty export is a mistake worth hearing about."""
    assert "holds no prices" in run("import", str(written("p.json", []))).output


def test_a_dry_run_changes_nothing(written: Write, run: Run, tmp_path: Path) -> None:
    """It answers what an import would, so the file can be checked in review."""
    answer = json.loads(run("import", str(written("p.json", [row()])), "--dry-run", "--json").output)
    assert answer == {"prices": 1, "left_out": 0, "overrides": 1, "dry_run": True}
    assert not (tmp_path / "data").exists()


def test_a_refused_import_says_everything_and_changes_nothing(written: Write, run: Run, tmp_path: Path) -> None:
    """In words for people, in JSON for scripts, and with a failing exit status for both."""
    file = written("p.json", [row(), row(model="b", input="x"), row(model="c", output="y")])
    said, told = run("import", str(file)), run("import", str(file), "--json")
    assert (said.exit_code, told.exit_code) == (1, 1)
    assert "models[1] (acme/b): input is not a number" in said.output
    assert [fault["where"] for fault in json.loads(told.output)["faults"]] == [
        "models[1] (acme/b)",
        "models[2] (acme/c)",
    ]
    assert not (tmp_path / "data").exists()


def test_an_unknown_model_is_said_to_be_unknown(run: Run) -> None:
    """Neither 0 nor a guess."""
    answer = run("show", "gpt-99")
    assert answer.exit_code == 1
    assert "no price is known for gpt-99" in answer.output
    assert "name one of its providers: groq" in run("show", "llama-3.1-8b-instant").output


def test_a_price_is_shown_with_its_tiers_and_its_source(run: Run) -> None:
    """Everything a bill can be checked against."""
    shown = run("show", "models/gemini-2.5-pro").output
    assert "above 200,000 tokens in" in shown
    assert "litellm" in shown
    assert all(name.replace("_", " ") in shown for name in RATES[:3])


def test_a_running_worker_takes_imported_prices_over(tmp_path: Path) -> None:
    """An import that needed a restart would be an outage."""
    overrides = tmp_path / "prices.json"
    book = PriceBook(overrides)
    assert book.table.find("acme", "rocket-1") is None
    save_overrides(overrides, [price("acme", "rocket-1")])
    book.refresh()
    assert book.table.find("acme", "rocket-1") == price("acme", "rocket-1")


def test_a_broken_file_leaves_the_prices_as_they_were(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody's calls may become unpriced because of a slip of the pen."""
    overrides = tmp_path / "prices.json"
    save_overrides(overrides, [price("acme", "rocket-1")])
    book = PriceBook(overrides)
    overrides.write_text("{")
    book.refresh()
    assert book.table.find("acme", "rocket-1") == price("acme", "rocket-1")
    assert "prices stay as they were" in caplog.text
