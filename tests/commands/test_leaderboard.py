import pytest

from mednext_cli.app import main


@pytest.fixture
def tables(tmp_path):
    paths = []
    for name, offset in (("k3", 0.0), ("k5", 0.05)):
        rows = [f"case_{case},organ,{0.5 + 0.04 * case + offset},0.9" for case in range(8)]
        path = tmp_path / f"{name}.csv"
        path.write_text("\n".join(["case,region,dice,surface_dice", *rows]) + "\n")
        paths.append(f"{name}={path}")
    return paths


def test_methods_are_ranked_and_written(tables, tmp_path, capsys):
    out = tmp_path / "ranks"
    assert main(["leaderboard", *tables, "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split("\t")[:4] == ["dice", "organ", "1", "k5"]
    assert lines[2].split("\t")[2:4] == ["2", "k3"]
    first = (out / "leaderboard.csv").read_text().splitlines()[1]
    assert first.startswith("dice,organ,k5,8,0.69")
    assert (out / "pairwise.csv").exists()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda tables: [*tables, "k9"], "'k9' is not NAME=cases.csv"),
        (lambda tables: [*tables, "=x.csv"], "'=x.csv' is not NAME=cases.csv"),
        (lambda tables: [*tables, tables[0]], "the name k3 is given twice"),
        (lambda tables: [*tables, "k9=nowhere.csv"], "nowhere.csv does not exist"),
        (lambda tables: [*tables, "--metric", "hd95"], "no column hd95_mm"),
        (lambda tables: [*tables, "--metric", "dyce"], "unknown metric 'dyce'"),
    ],
)
def test_wrong_input_ends_with_one_line(tables, tmp_path, capsys, change, text):
    out = tmp_path / "ranks"
    assert main(["leaderboard", *change(tables), "--out", str(out)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert text in lines[0]
    assert not out.exists()
