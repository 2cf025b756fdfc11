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

import skclip
from skclip.checkpoints.resolve import DEFAULT_MODEL
from skclip.cli import main as cli
from skclip.encode.bulk import recipe as recipe_module
from skclip.encode.bulk import run as bulk
from skclip.encode.bulk.interrupts import Interrupts
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
        assert isinstance(options.pop("interrupts"), Interrupts)
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


def run_until(condition, number, *arguments):
    """Run a command, send it a signal when the condition holds, and return what it printed."""
    command = script_command("interruptible_skclip.py", *arguments)
    with subprocess.Popen(command, stderr=subprocess.PIPE) as run:
        os.set_blocking(run.stderr.fileno(), False)
        printed = b""
        while run.poll() is None and not condition(printed):
            time.sleep(0.01)
            printed += run.stderr.read() or b""
        run.send_signal(number)
        os.set_blocking(run.stderr.fileno(), True)
        printed += run.stderr.read()
    assert run.returncode == 130
    assert b"Traceback" not in printed
    return printed.decode()


def write_list(photos):
    pictures = [f"{photos}/{i:02}.png" for i in range(30)] * 400
    (photos / "my list.csv").write_text("\n".join(["image", *pictures]))
    return ["embed", "photos/my list.csv", "--out", "out", "--model", "skclip/tiny"]


def test_ctrl_c_prints_the_command_that_resumes(photos):
    arguments = [*write_list(photos), "--rows-per-part", "20", "--batch-size", "1"]
    printed = run_until(
        lambda _: any(photos.parent.glob("out/part-*")), signal.SIGINT, *arguments, "--overwrite"
    )
    found = re.fullmatch(
        r"interrupted: (\d+) of 12000 rows are kept; to resume, run: python -m skclip embed "
        r"'photos/my list\.csv' --out out --model skclip/tiny --rows-per-part 20 --batch-size 1",
        printed.splitlines()[-1],
    )
    parts = sorted(name for name in os.listdir("out") if name.startswith("part-"))
    assert parts == [f"part-{i:05}.parquet" for i in range(len(parts))]
    assert 1 <= len(parts) < 600
    assert 20 * len(parts) <= int(found[1]) <= 20 * (len(parts) + 1)


def test_a_signal_before_the_first_part_is_complete_loses_nothing(photos, capsys):
    names = [f"{i:02}.png" for i in range(30)]
    for i in range(2000):  # so that no two paths are equal
        os.symlink(photos / names[i % 30], photos / f"link{i:04}.png")
    command = ["embed", "photos", "--out", "out", "--model", "skclip/tiny"]
    printed = run_until(
        lambda text: b"image/s" in text.rpartition(b" 0/2030 ")[2].partition(b"/2030")[2],
        signal.SIGTERM,
        *command,
        "--batch-size",
        "1",
        "--n-jobs",
        "1",
    )
    n_kept = int(re.search(r"interrupted: (\d+) of 2030 rows are kept", printed)[1])
    assert 1 <= n_kept < 2030
    assert cli.main([*command, "--quiet"]) == 0
    assert capsys.readouterr().err == f"2030 rows in out ({n_kept} were there before)\n"


def test_an_interrupt_while_the_model_loads(photos, monkeypatch, capsys):
    def load(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(recipe_module, "load_encoder", load)
    assert embed("photos", "--out", "out") == 130
    assert capsys.readouterr().err == "\ninterrupted before the first image; nothing was changed\n"
    assert not (photos.parent / "out").exists()


def test_the_version_needs_no_heavy_imports():
    command = [sys.executable, "-X", "importtime", "-m", "skclip", "--version"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout == f"skclip {skclip.__version__}\n"
    assert not re.search(r"\| +(torch|numpy|PIL|sklearn|pyarrow)\n", run.stderr)


def test_python_m_skclip_works_like_the_command(photos):
    run = subprocess.run(
        [sys.executable, "-m", "skclip", "embed", "photos", "--out", "o", "--model", "skclip/tiny"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.search(r"30/30 .*image/s", run.stderr)
    assert run.stderr.endswith("\n30 rows in o\n")
