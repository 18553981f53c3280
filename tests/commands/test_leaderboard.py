from xml.etree import ElementTree

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
        (lambda tables: tables[:1], "only k3 to rank"),
        (lambda tables: [*tables, "k3@kits=x.csv"], "no cases.csv of dataset kits"),
        (lambda tables: [*tables, "--aggregate", "mode"], "'mode' is not one of 'mean', 'median'"),
        (lambda tables: [*tables, "--p-adjust", "fdr"], "'fdr' is not one of 'holm', 'none'"),
        (lambda tables: [*tables, "--undefined", "first"], "'first' is not one of 'last', 'drop'"),
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


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("case,region,dice,surface_dice,csv_version\ncase_1,organ,0.5,0.5,2\n", "of version 2"),
        ("case,region,dice,surface_dice\nother,organ,0.5,0.5\n", "share no case"),
        ("case,region,dice,surface_dice\ncase_1,liver,0.5,0.5\n", "share no region"),
        ("case,dice,surface_dice\ncase_1,0.5,0.5\n", "no column region"),
        ("", "no column case, region, dice, surface_dice"),
    ],
)
def test_tables_that_cannot_be_ranked_end_with_one_line(tables, tmp_path, capsys, text, reason):
    (tmp_path / "odd.csv").write_text(text)
    command = ["leaderboard", *tables, f"odd={tmp_path / 'odd.csv'}", "--out", str(tmp_path / "o")]
    assert main(command) == 2
    (line,) = [one for one in capsys.readouterr().err.splitlines() if one.startswith("error")]
    assert reason in line
    assert not (tmp_path / "o").exists()


def test_a_missing_case_is_named(tables, tmp_path, capsys):
    path = tmp_path / "short.csv"
    lines = (tmp_path / "k3.csv").read_text().splitlines()
    path.write_text("\n".join(lines[:-1]) + "\n")
    assert main(["leaderboard", *tables, f"short={path}", "--out", str(tmp_path / "o")]) == 0
    assert "short lacks case_7: left out for all" in capsys.readouterr().err
    assert (tmp_path / "o" / "leaderboard.html").exists()
    for name in ("rank_plot.svg", "dot_plot.svg"):
        plot = ElementTree.parse(tmp_path / "o" / name).getroot()
        texts = [one.text for one in plot.iter("{http://www.w3.org/2000/svg}text")]
        assert texts[0].startswith("dice")
        assert {"k3", "k5", "short"} <= set(texts)
