"""The benchmarks run and write what they should; how fast anything is, is not tested."""

import importlib.util
import json
import runpy
import sys
import types
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
DOCS = EXAMPLES.parent / "docs"
SCRIPTS = ("defaults", "drift", "federated", "fusion", "scaling", "search", "sites", "summary", "training")

pytest.importorskip("matplotlib").use("agg")


@pytest.fixture
def printed_here(monkeypatch, capsys):
    """Run a script as its command does, but in this process, which need not import everything anew."""
    before = set(sys.modules)

    def run(path, *options):
        monkeypatch.syspath_prepend(path.parent)
        monkeypatch.setattr(sys, "argv", [str(path), *map(str, options)])
        runpy.run_path(str(path), run_name="__main__")
        return capsys.readouterr().out

    yield run
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").is_relative_to(EXAMPLES):
            del sys.modules[name]


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_quick_run(script, printed_here, tmp_path):
    printed = printed_here(EXAMPLES / "benchmarks" / f"{script}.py", "--quick", "--out", tmp_path)
    results = json.loads((tmp_path / f"{script}.json").read_text())
    assert results["benchmark"] == script
    assert {"cpu", "cores", "blas", "versions"} <= results["machine"].keys()
    assert results["results"]
    for goal in results["goals"]:
        assert goal.keys() == {"what", "sense", "goal", "measured", "met"}
        assert goal["what"] in printed
    if script not in ("defaults", "drift", "federated", "sites", "summary"):
        assert (tmp_path / f"{script}.png").stat().st_size > 1000


def test_the_guide_has_the_table_of_defaults():
    page = (DOCS / "guide" / "defaults.md").read_text()
    for row in json.loads((DOCS / "benchmarks" / "defaults.json").read_text())["results"]:
        assert f"| {' | '.join(row.values())} |" in page


FEDERATED = ("system", "s a round", "start-up s", "peak MB", "MB sent a round")
FEDERATED += ("error 50", "error 100", "error 200", "worst 200")
SITES = ("sites", "rounds by", "seconds", "fit", "times fit")


@pytest.mark.parametrize(("script", "columns"), [("federated", FEDERATED), ("sites", SITES)])
def test_the_page_has_the_table(script, columns):
    page = (DOCS / "benchmarks" / "index.md").read_text()
    assert f"| {' | '.join(columns)} |" in page
    for line in json.loads((DOCS / "benchmarks" / f"{script}.json").read_text())["results"]:
        assert f"| {' | '.join(text(line[column]) for column in columns)} |" in page


def text(value):
    if isinstance(value, str):
        return value
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


@pytest.mark.parametrize(
    ("page", "engine", "n_lines"), [("sites_nvflare", "NVFlare", 4), ("sites_flower", "Flower over", 1)]
)
def test_the_pages_of_engines_say_what_a_round_takes(page, engine, n_lines):
    said = (DOCS / "guide" / f"{page}.md").read_text()
    lines = json.loads((DOCS / "benchmarks" / "sites.json").read_text())["results"]
    seconds = [line["seconds"] for line in lines if line["rounds by"].startswith(engine)]
    assert len(seconds) == n_lines
    for value in seconds:
        assert f"{value:.2g} s" in said


@pytest.fixture
def datasets():
    spec = importlib.util.spec_from_file_location("datasets_of_examples", EXAMPLES / "datasets.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_data_without_openml(datasets, monkeypatch):
    monkeypatch.setitem(sys.modules, "openml", None)
    with pytest.raises(SystemExit, match=r"pip install 'skfusion\[openml\]'"):
        datasets.load_frame("vowel")


def test_data_without_network(datasets, monkeypatch):
    def get_dataset(*args, **kwargs):
        raise ConnectionError("no route\nto host")

    openml = types.SimpleNamespace(datasets=types.SimpleNamespace(get_dataset=get_dataset))
    monkeypatch.setitem(sys.modules, "openml", openml)
    with pytest.raises(SystemExit, match=r"^Cannot download vowel, data set 307 of OpenML: no route to host$"):
        datasets.load_frame("vowel")


def test_arrays(datasets, monkeypatch):
    pd = pytest.importorskip("pandas")
    X = pd.DataFrame({"a": [1, 2, 3], "sex": pd.Categorical(["m", "f", "m"]), "b": [0.5, 0.25, 1]})
    y = pd.Series(pd.Categorical(["z", "a", "z"], categories=["z", "a"]))
    dataset = types.SimpleNamespace(default_target_attribute="class", get_data=lambda target: (X, y, None, None))
    openml = types.SimpleNamespace(datasets=types.SimpleNamespace(get_dataset=lambda *args, **kwargs: dataset))
    monkeypatch.setitem(sys.modules, "openml", openml)
    values, codes = datasets.load_arrays("vowel", "float32", n_rows=2)
    assert values.dtype == "float32" and values.flags.c_contiguous
    assert values.tolist() == [[1, 0.5], [2, 0.25]]
    assert codes.tolist() == [0, 1]
