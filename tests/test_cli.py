"""The command line, with arguments as a user types them."""

import inspect
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from subprocesses import run_script, script_command

from skclip.checkpoints.resolve import DEFAULT_MODEL
from skclip.cli import main as cli
from skclip.encode.bulk import run as bulk
from skclip.encode.bulk.recipe import Recipe


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for i in range(30):
        pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{i:02}.png")
    return tmp_path / "photos"


def embed(*arguments):
    return cli.main(["embed", *arguments, "--model", "skclip/tiny", "--quiet"])


def test_embed_writes_vectors_and_then_finds_them(photos, capsys):
    assert embed("photos", "--out", "vectors.parquet", "--rows-per-part", "20") == 0
    assert capsys.readouterr() == ("", "30 rows in vectors.parquet\n")
    frame = pd.read_parquet("vectors.parquet")
    assert frame["id"].tolist() == [f"photos/{i:02}.png" for i in range(30)]
    np.testing.assert_allclose(np.linalg.norm(np.stack(frame["vector"]), axis=1), 1, rtol=1e-5)
    assert embed("photos", "--out", "vectors.parquet", "--rows-per-part", "20") == 0
    assert capsys.readouterr().err == "30 rows in vectors.parquet (30 were there before)\n"


def test_unreadable_files_are_counted(photos, capsys):
    (photos / "30.png").touch()
    assert embed("photos", "--out", "out") == 0
    assert capsys.readouterr().err.splitlines()[-1] == (
        "1 of them could not be read: the column 'error' says why"
    )


def test_every_option_reaches_its_parameter(photos, monkeypatch, capsys):
    seen = {}

    def embed_collection(collection, out, recipe, **options):
        seen.update(options, n=len(collection), out=out, recipe=recipe)
        seen["ids"] = collection.rows(0, len(collection)).ids
        return bulk.Written(len(collection), 0, 0)

    monkeypatch.setattr(bulk, "embed_collection", embed_collection)
    (photos / "x.csv").write_text("name,picture\na,00.png\n")
    command = (
        "photos/x.csv --out o --model m --features pooled --no-normalize --batch-size 7 "
        "--device cpu --dtype bfloat16 --n-jobs 3 --cache c --preprocess exact --compile "
        "--rows-per-part 9 --column picture --id-column name --scheduler tcp://a:1 --overwrite"
    )
    assert cli.main(["embed", *command.split()]) == 0
    assert seen == {
        "n": 1,
        "ids": ["a"],
        "out": "o",
        "recipe": Recipe("m", "pooled", False, 7, "cpu", "bfloat16", 3, "c", "exact", True),
        "rows_per_part": 9,
        "scheduler": "tcp://a:1",
        "overwrite": True,
        "verbose": 1,
    }


def test_defaults_are_those_of_recipe_and_function(monkeypatch, photos, capsys):
    options = cli._parser().parse_args(["embed", "photos", "--out", "o"])
    assert options.model == DEFAULT_MODEL
    for field in vars(Recipe()).keys() - {"n_jobs", "cache"}:
        assert getattr(options, field) == getattr(Recipe, field)
    assert options.n_jobs is options.cache is options.scheduler is None
    default = inspect.signature(bulk.embed_collection).parameters["rows_per_part"].default
    assert options.rows_per_part == default


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "--out", "o"], "the input 'nowhere' does not exist"),
        (["photos", "--out", "photos"], "holds '00.png', which is no part of a run"),
        (["photos", "--out", "o", "--device", "moon"], "device must be 'auto' or a device"),
        (["photos", "--out", "o", "--column", "x"], "column names a column of a table"),
    ],
)
def test_errors_are_one_line(photos, capsys, arguments, message):
    assert embed(*arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("skclip embed: error: ")
    assert message in line


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["embed"],
        ["embed", "photos"],
        ["embed", "photos", "--out", "o", "--batch-size", "0"],
        ["embed", "photos", "--out", "o", "--rows-per-part", "many"],
        ["embed", "photos", "--out", "o", "--dtype", "int8"],
    ],
)
def test_wrong_usage_shows_the_usage(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(arguments)
    assert "usage: skclip" in capsys.readouterr().err


@pytest.mark.parametrize(("option", "value"), [("--batch-size", "0"), ("--rows-per-part", "many")])
def test_numbers_are_checked(option, value, capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["embed", "photos", "--out", "o", option, value])
    expected = f"argument {option}: must be a whole number, at least 1, got '{value}'"
    assert expected in capsys.readouterr().err


def test_help_imports_nothing_heavy():
    assert run_script("show_help.py").stdout.endswith("[]\n")


def test_ctrl_c_prints_the_command_that_resumes(photos):
    pictures = [f"{photos}/{i:02}.png" for i in range(30)] * 400
    (photos / "my list.csv").write_text("\n".join(["image", *pictures]))
    arguments = ["embed", "photos/my list.csv", "--out", "out", "--model", "skclip/tiny"]
    arguments += ["--rows-per-part", "20", "--batch-size", "1"]
    command = script_command("interruptible_skclip.py", *arguments, "--overwrite")
    with subprocess.Popen(command, stderr=subprocess.PIPE) as run:
        while run.poll() is None and not any(photos.parent.glob("out/part-*")):
            time.sleep(0.01)
        run.send_signal(signal.SIGINT)
        error = run.communicate()[1].decode()
    assert run.returncode == 130
    assert "Traceback" not in error
    assert error.splitlines()[-1] == (
        "interrupted; to resume, run: python -m skclip embed 'photos/my list.csv' --out out "
        "--model skclip/tiny --rows-per-part 20 --batch-size 1"
    )
    there = sorted(os.listdir("out"))
    assert there == ["_lock", *(f"part-{i:05}.parquet" for i in range(len(there) - 1))]
    assert 1 < len(there) < 600


def test_python_m_skclip_works_like_the_command(photos):
    run = subprocess.run(
        [sys.executable, "-m", "skclip", "embed", "photos", "--out", "o", "--model", "skclip/tiny"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.search(r"30/30 .*image/s", run.stderr)
    assert run.stderr.endswith("\n30 rows in o\n")
