import pytest

from hdbench.errors import HdbenchError
from hdbench.metrics.protocols import PROTOCOLS
from hdbench.reporting.published import published_boards, published_tables, read_tables


def board_of(protocol: str, category: str, title: str):
    (found,) = [one for one in published_boards(protocol, category) if one.table.title.startswith(title)]
    names = [column.metric for column in found.columns]
    return {row.method: dict(zip(names, row.values, strict=True)) for row in found.rows}, found


def test_every_table_says_where_it_is_from_and_names_what_hdbench_knows():
    assert len(published_tables()) > 10
    for table in published_tables():
        assert table.source
        assert table.data
        assert table.protocol in ("", *PROTOCOLS)
        for row in table.rows:
            assert set(row) <= {"method", "flag", *table.metrics}
            for metric in table.metrics:
                value = float(row[metric]) / table.metrics[metric]
                assert 0 <= value <= (1 if metric.startswith(("cov", "nna", "jsd")) else 100), (table.title, row)


def test_numbers_are_shown_in_our_units_with_the_digits_of_the_paper():
    rows, _ = board_of("hyperdiffusion", "airplane", "HyperDiffusion")
    assert rows["HyperDiffusion"] == {"mmd_cd": "3.4", "cov_cd": "49", "nna_cd": "69.3", "fpd": "3.5"}
    rows, _ = board_of("pvd", "airplane", "PVD's released")
    assert rows["PVD"]["nna_cd"] == "72.59"  # printed as .7259
    assert rows["PVD"]["mmd_cd"] == "0.00022858"
    rows, _ = board_of("dpc", "airplane", "DPC")
    assert rows["DPC (PointNet encoder)"] == {
        "cov_cd": "48.71",
        "cov_emd_published": "45.47",
        "mmd_cd": "3.276",
        "mmd_emd_published": "1.061",
        "nna_cd": "64.83",
        "nna_emd_published": "75.12",
    }


def test_what_is_doubtful_is_flagged():
    _, found = board_of("pvd", "chair", "DiT-3D")
    flags = {row.method: row.flag for row in found.rows}
    assert "three other sources" in flags["PVD"]
    assert "chosen by the test metric" in flags["DiT-3D"]
    assert flags["PointFlow"] == ""
    assert "unsupported" in board_of("dpc", "airplane", "DPC")[1].rows[1].flag
    for table in published_tables():
        for row in table.rows:
            below = float(row.get("nna_cd", 100)) / table.metrics.get("nna_cd", 1) < 0.5
            assert not below or row.get("flag"), (table.title, row)


def test_a_table_of_unknown_protocol_stands_beside_nothing():
    assert [table.title for table in published_tables() if not table.protocol] == ["DNF's table of 4D animals"]
    assert published_boards("", "animal") == []
    assert published_boards("hyperdiffusion-4d", "animal") == []


@pytest.mark.parametrize("text", ["[[tables", "[[tables]]\ntitle = 1", "[[tables]]\nsurprise = 1"])
def test_what_is_no_table_is_refused_by_name(text):
    with pytest.raises(HdbenchError, match="mine"):
        read_tables(text, "mine.toml")
