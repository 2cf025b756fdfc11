"""A collection is written to Parquet with every row once, even if a run is killed in between."""

import json
import os
import signal
import subprocess
import tarfile
from contextlib import nullcontext
from dataclasses import replace

import filelock
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from PIL import Image
from subprocesses import script_command

from skclip.encode import images as images_module
from skclip.encode.bulk import parts as parts_module
from skclip.encode.bulk import pieces as pieces_module
from skclip.encode.bulk import recipe as recipe_module
from skclip.encode.bulk.interrupts import RunInterrupted
from skclip.encode.bulk.recipe import Recipe
from skclip.encode.bulk.run import Written, embed_collection
from skclip.encode.cache.disk import EmbeddingStore
from skclip.encode.encoder import load_encoder
from skclip.encode.images import embed_images
from skclip.exceptions import CheckpointError
from skclip.inputs.collections.collection import open_collection

TINY = Recipe("skclip/tiny")
N_FILES = 45
OPTIONS = {"rows_per_part": 10}  # five parts, the last one shorter


def unit_vectors(paths):
    vectors = embed_images(load_encoder("skclip/tiny"), paths)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of small pictures, no two alike."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for i in range(N_FILES):
        pixels = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((40, 30)).save(folder / f"{i:03}.png")
    return folder


@pytest.fixture(scope="module")
def expected(folder):
    paths = [str(path) for path in sorted(folder.iterdir())]
    return paths, unit_vectors(paths)


@pytest.fixture
def collection(folder):
    return open_collection([folder])


def check_whole(out, expected):
    """Check that there is each row once, in order, with its vector, and no other file."""
    paths, vectors = expected
    table = ds.dataset(out).to_table()
    assert table["id"].to_pylist() == table["path"].to_pylist() == paths
    assert table["error"].null_count == len(paths)
    found = np.stack(table["vector"].to_numpy(zero_copy_only=False))
    np.testing.assert_allclose(found, vectors, atol=1e-5)
    assert {name for name in os.listdir(out) if not name.startswith("part-")} == {"_lock"}


def times_of_parts(out):
    return {path.name: path.stat().st_mtime_ns for path in out.glob("part-*")}


def test_other_libraries_read_the_result(collection, expected, tmp_path):
    out = tmp_path / "new" / "vectors.parquet"
    written = embed_collection(collection, out, TINY, **OPTIONS)
    assert written == Written(N_FILES, 0, 0)
    check_whole(out, expected)
    assert sorted(times_of_parts(out)) == [f"part-{i:05}.parquet" for i in range(5)]
    schema = ds.dataset(out).schema
    width = expected[1].shape[1]
    assert schema.names == ["id", "path", "vector", "error"]
    assert schema.field("vector").type == pa.list_(pa.float32(), width)
    frame = pd.read_parquet(out)
    assert frame["id"].tolist() == expected[0]
    np.testing.assert_allclose(np.stack(frame["vector"]), expected[1], atol=1e-5)
    frame = pl.read_parquet(out)
    assert frame.schema["vector"] == pl.Array(pl.Float32, width)
    np.testing.assert_allclose(frame["vector"].to_numpy(), expected[1], atol=1e-5)


def test_all_settings_of_the_recipe_are_used(collection, expected, tmp_path):
    recipe = Recipe("skclip/tiny", features="pooled", normalize=False, batch_size=7, n_jobs=1)
    embed_collection(collection, tmp_path / "out", recipe)
    encoder = load_encoder("skclip/tiny")
    pooled = embed_images(encoder, expected[0], features="pooled", normalize=False)
    found = np.stack(pd.read_parquet(tmp_path / "out")["vector"])
    np.testing.assert_allclose(found, pooled, atol=1e-4)


def test_unreadable_files_have_an_error_and_no_vector(odd_files, tmp_path):
    (tmp_path / "odd.csv").write_text(
        "image\n" + "\n".join([f'"{file.path}"' for file in odd_files] + ["''"]) + "\n"
    )
    collection = open_collection([tmp_path / "odd.csv"])
    written = embed_collection(collection, tmp_path / "out", TINY, **OPTIONS)
    frame = pd.read_parquet(tmp_path / "out")
    readable = [file.readable for file in odd_files] + [False]
    found = np.stack(frame["vector"])
    assert frame["error"].isna().tolist() == readable
    assert (~np.isnan(found).any(axis=1)).tolist() == readable
    assert written.n_errors == readable.count(False)
    empty = [file.name for file in odd_files].index("empty.jpg")
    assert frame["error"][empty] == f"the file {odd_files[empty].path!r} is empty (0 bytes)"
    good = [file.path for file in odd_files if file.readable]
    vectors = unit_vectors(good)
    np.testing.assert_allclose(found[readable], vectors, atol=1e-5)
    again = embed_collection(collection, tmp_path / "out", TINY, **OPTIONS)
    assert again == Written(len(readable), len(readable), written.n_errors)


def test_a_part_without_readable_files_is_all_nan(tmp_path):
    (tmp_path / "x.csv").write_text("image\na.jpg\nb.jpg\n")
    embed_collection(open_collection([tmp_path / "x.csv"]), tmp_path / "out", TINY)
    (part,) = ds.dataset(tmp_path / "out").to_batches()
    found = part["vector"].flatten().to_numpy().reshape(2, -1)
    assert found.shape[1] == load_encoder("skclip/tiny").embed_dim
    assert np.isnan(found).all()


def test_duplicate_paths_of_a_table_are_read_once(folder, expected, tmp_path, monkeypatch):
    names = [f"{folder}/{i:03}.png" for i in (3, 1, 3, 3, 1)]
    (tmp_path / "x.csv").write_text(
        "\n".join(["image", *names[:2], "nowhere", *names[2:], "nowhere"])
    )
    read = count_read_items(monkeypatch)
    embed_collection(open_collection([tmp_path / "x.csv"]), tmp_path / "out", TINY)
    assert sorted(read) == [0, 0, 1, 2]  # the first 0 is the trial of the options
    frame = pd.read_parquet(tmp_path / "out")
    assert frame["error"].notna().tolist() == [False, False, True, False, False, False, True]
    found = np.stack(frame["vector"][frame["error"].isna()])
    np.testing.assert_allclose(found, expected[1][[3, 1, 3, 3, 1]], atol=1e-5)


def test_a_file_name_need_not_be_text(folder, tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes((folder / "000.png").read_bytes())
    embed_collection(open_collection([tmp_path / "in"]), tmp_path / "out", TINY)
    frame = pd.read_parquet(tmp_path / "out")
    assert frame["path"].tolist() == [f"{tmp_path}/in/caf\\udce9.png"]
    assert frame["error"].isna().all()


def mixed_inputs(folder, tmp_path):
    """The pictures in a shard, a Parquet file with bytes, a CSV file and as files."""
    contents = [path.read_bytes() for path in sorted(folder.iterdir())]
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for i in range(15):
            tar.add(folder / f"{i:03}.png", arcname=f"{i:03}.png")
    pq.write_table(pa.table({"image": contents[15:30]}), tmp_path / "x.parquet")
    (tmp_path / "x.csv").write_text(
        "\n".join(["image", *(f"{folder}/{i:03}.png" for i in range(30, 40))])
    )
    files = [folder / f"{i:03}.png" for i in range(40, N_FILES)]
    return [tmp_path / "x.tar", tmp_path / "x.parquet", tmp_path / "x.csv", *files]


def test_all_kinds_of_inputs_can_be_mixed(folder, expected, tmp_path):
    inputs = mixed_inputs(folder, tmp_path)
    embed_collection(open_collection(inputs), tmp_path / "out", TINY, **OPTIONS)
    frame = pd.read_parquet(tmp_path / "out")
    assert frame["id"][0] == "000"
    assert frame["path"].isna().sum() == 30
    np.testing.assert_allclose(np.stack(frame["vector"]), expected[1], atol=1e-5)


def test_vectors_in_a_store_are_used_by_another_run(folder, expected, tmp_path):
    collection = open_collection(mixed_inputs(folder, tmp_path))
    recipe = Recipe("skclip/tiny", cache=str(tmp_path / "store"))
    for rows_per_part in (10, 20):
        out = tmp_path / f"out{rows_per_part}"
        embed_collection(collection, out, recipe, rows_per_part=rows_per_part)
        found = np.stack(pd.read_parquet(out)["vector"])
        np.testing.assert_allclose(found, expected[1], atol=1e-5)
    info = EmbeddingStore(tmp_path / "store").cache_info()
    assert (info.misses, info.hits) == (N_FILES, N_FILES)


def test_a_killed_run_is_resumed(collection, folder, expected, tmp_path):
    out = tmp_path / "out"
    killed = subprocess.run(script_command("embed_until_killed.py", folder, out), check=False)
    assert killed.returncode == -signal.SIGKILL
    before = times_of_parts(out)
    assert len(before) == 2
    assert ".part-00002.parquet.tmp" in os.listdir(out)
    written = embed_collection(collection, out, TINY, **OPTIONS)
    assert written == Written(N_FILES, 20, 0)
    check_whole(out, expected)
    assert before.items() <= times_of_parts(out).items()


def test_a_failed_write_leaves_no_files(collection, expected, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(parts_module.os, "fsync", full_disk)
        with pytest.raises(OSError, match="No space left"):
            embed_collection(collection, tmp_path / "out", TINY, **OPTIONS)
    assert not (tmp_path / "out").exists()
    embed_collection(collection, tmp_path / "out", TINY, **OPTIONS)
    check_whole(tmp_path / "out", expected)


def full_disk(*args):
    raise OSError(28, "No space left on device")


def test_lost_and_damaged_parts_are_written_again(collection, expected, tmp_path):
    out = tmp_path / "out"
    embed_collection(collection, out, TINY, **OPTIONS)
    before = times_of_parts(out)
    (out / ".part-00009.parquet.tmp").touch()
    (out / "part-00001.parquet").unlink()
    damaged = out / "part-00003.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    assert embed_collection(collection, out, TINY, **OPTIONS).n_rows_before == 25
    check_whole(out, expected)
    after = times_of_parts(out)
    assert {name for name in before if before[name] != after[name]} == {
        "part-00001.parquet",
        "part-00003.parquet",
    }


class StopAfter:
    """Stand in for `Interrupts`: stops the run after some batches, with an exception."""

    def __init__(self, n_batches, error=KeyboardInterrupt):
        self.n_batches = n_batches
        self.error = error

    def deferred(self):
        return nullcontext()

    def check(self):
        self.n_batches -= 1
        if not self.n_batches:
            raise self.error


SLOWLY = replace(TINY, batch_size=3, n_jobs=1)


def stop(collection, out, n_batches, error=KeyboardInterrupt, expected=RunInterrupted, **match):
    with pytest.raises(expected, **match):
        embed_collection(collection, out, SLOWLY, interrupts=StopAfter(n_batches, error), **OPTIONS)


def pieces_of(out):
    return sorted(path.name for path in out.glob(".part-*"))


def count_read_items(monkeypatch):
    """Return a list that grows by an item for each image that is read."""
    read = []
    read_item = images_module.read_item

    def counting(items, prepare_image, position):
        read.append(position)
        return read_item(items, prepare_image, position)

    monkeypatch.setattr(images_module, "read_item", counting)
    return read


def test_rows_of_an_unfinished_part_are_kept(collection, expected, tmp_path, monkeypatch):
    out = tmp_path / "out"
    stop(collection, out, 2, match="^6 of 45 rows are kept$")
    assert pieces_of(out) == [".part-00000.kept-000.parquet"]
    stop(collection, out, 1, match="^9 of 45 rows are kept$")
    stop(collection, out, 3, match="^16 of 45 rows are kept$")
    assert [*times_of_parts(out)] == ["part-00000.parquet"]
    assert pieces_of(out) == [".part-00001.kept-000.parquet"]
    assert ds.dataset(out).count_rows() == 10
    read = count_read_items(monkeypatch)
    assert embed_collection(collection, out, TINY, **OPTIONS) == Written(N_FILES, 16, 0)
    assert len(read) == N_FILES - 16 + 1  # one is the trial of the options
    check_whole(out, expected)


def test_a_part_that_lacks_nothing_but_its_file_is_written(collection, expected, tmp_path):
    out = tmp_path / "out"
    stop(collection, out, 4, match="10 of 45")
    assert not times_of_parts(out)
    assert embed_collection(collection, out, TINY, **OPTIONS) == Written(N_FILES, 10, 0)
    check_whole(out, expected)


def test_errors_and_duplicates_of_an_unfinished_part_are_kept(folder, tmp_path, monkeypatch):
    names = ["nowhere", "000.png", "001.png", "000.png", "002.png", "003.png", "004.png", "nowhere"]
    (tmp_path / "x.csv").write_text("\n".join(["image", *(f"{folder}/{name}" for name in names)]))
    collection = open_collection([tmp_path / "x.csv"])
    stop(collection, tmp_path / "out", 1, match="5 of 8")
    read = count_read_items(monkeypatch)
    assert embed_collection(collection, tmp_path / "out", TINY, **OPTIONS) == Written(8, 5, 2)
    assert len(read) == 3 + 1  # one is the trial of the options
    embed_collection(collection, tmp_path / "whole", TINY, **OPTIONS)
    resumed, whole = (pd.read_parquet(tmp_path / name) for name in ("out", "whole"))
    pd.testing.assert_frame_equal(resumed.drop(columns="vector"), whole.drop(columns="vector"))
    for vectors in (resumed["vector"], whole["vector"]):
        assert np.isnan(np.stack(vectors)).any(axis=1).tolist() == [True, *[False] * 6, True]
    np.testing.assert_allclose(np.stack(resumed["vector"]), np.stack(whole["vector"]), atol=1e-5)


def test_kept_rows_of_shards_and_tables_are_resumed(folder, expected, tmp_path):
    collection = open_collection(mixed_inputs(folder, tmp_path))
    out = tmp_path / "out"
    for n_batches in (2, 6, 9):  # within the shard, at the border to Parquet, and within that
        stop(collection, out, n_batches)
    embed_collection(collection, out, TINY, **OPTIONS)
    frame = pd.read_parquet(out)
    np.testing.assert_allclose(np.stack(frame["vector"]), expected[1], atol=1e-5)


def test_rows_are_kept_after_any_error(collection, expected, tmp_path):
    out = tmp_path / "out"
    stop(collection, out, 2, MemoryError(), MemoryError)
    assert pieces_of(out) == [".part-00000.kept-000.parquet"]
    assert embed_collection(collection, out, TINY, **OPTIONS).n_rows_before == 6
    check_whole(out, expected)


def test_rows_are_kept_from_time_to_time(collection, expected, tmp_path, monkeypatch):
    # the clock of a machine that embeds three images in six seconds
    now = iter(range(0, 10_000, 6))
    monkeypatch.setattr(pieces_module.time, "monotonic", lambda: next(now))
    written = []
    write_file = parts_module.write_file

    def recording(path, columns, run):
        written.append((path.name, len(columns["vector"])))
        write_file(path, columns, run)

    monkeypatch.setattr(parts_module, "write_file", recording)
    monkeypatch.setattr(pieces_module, "write_file", recording)
    monkeypatch.setattr(pieces_module, "_SHARE_OF_WRITING", 1)
    embed_collection(collection, tmp_path / "out", SLOWLY, **OPTIONS)
    assert written[:2] == [(".part-00000.kept-000.parquet", 6), ("part-00000.parquet", 10)]
    check_whole(tmp_path / "out", expected)


def test_a_slow_disk_is_written_to_less_often(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(pieces_module.time, "monotonic", lambda: now[0])
    timer = pieces_module.PieceTimer()
    for now[0], due in [(9.9, False), (10.0, True)]:
        assert timer.is_due() is due
    timer.restart(0.5)  # seconds, which are a hundredth of 50
    for now[0], due in [(59.9, False), (60.0, True)]:
        assert timer.is_due() is due


def test_damaged_pieces_are_embedded_again(collection, expected, tmp_path):
    out = tmp_path / "out"
    stop(collection, out, 1)
    stop(collection, out, 1)
    (out / ".part-00000.kept-002.parquet.tmp").touch()
    damaged = out / ".part-00000.kept-000.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    assert embed_collection(collection, out, TINY, **OPTIONS).n_rows_before == 3
    check_whole(out, expected)


def test_pieces_of_a_complete_part_are_removed(collection, expected, tmp_path):
    out = tmp_path / "out"
    stop(collection, out, 1)
    (piece,) = pieces_of(out)
    content = (out / piece).read_bytes()
    embed_collection(collection, out, TINY, **OPTIONS)
    (out / piece).write_bytes(content)  # as if the process had been killed before it was removed
    assert embed_collection(collection, out, TINY, **OPTIONS).n_rows_before == N_FILES
    check_whole(out, expected)


def test_pieces_of_another_run_are_refused_unless_overwritten(collection, expected, tmp_path):
    out = tmp_path / "out"
    stop(collection, out, 1)
    with pytest.raises(ValueError, match=r"vectors of another run: another features"):
        embed_collection(collection, out, replace(TINY, features="pooled"), **OPTIONS)
    assert len(pieces_of(out)) == 1
    written = embed_collection(collection, out, TINY, **OPTIONS, overwrite=True)
    assert written.n_rows_before == 0
    check_whole(out, expected)


def test_a_full_disk_loses_nothing_that_was_kept(collection, expected, tmp_path, monkeypatch):
    out = tmp_path / "out"
    stop(collection, out, 5, match="13 of 45")
    before = sorted(os.listdir(out))
    with monkeypatch.context() as patch:
        patch.setattr(parts_module.os, "fsync", full_disk)
        message = r"kept-001\.parquet' cannot be written \(No space left on device\); "
        stop(collection, out, 1, KeyboardInterrupt, OSError, match=message)
    assert sorted(os.listdir(out)) == before
    assert embed_collection(collection, out, TINY, **OPTIONS).n_rows_before == 13
    check_whole(out, expected)


def test_a_finished_run_and_another_run_need_no_model(collection, begun, tmp_path, monkeypatch):
    def load(*args, **options):
        raise AssertionError("the model was loaded")

    pictures = open_collection([tmp_path / "begun.parquet" / "part-00000.parquet"], column="id")
    with monkeypatch.context() as patch:
        patch.setattr(recipe_module, "load_encoder", load)
        with pytest.raises(ValueError, match=r"another features"):
            embed_collection(collection, begun, replace(TINY, features="pooled"), **OPTIONS)
        with pytest.raises(ValueError, match=r"another number of images"):
            embed_collection(pictures, begun, TINY, **OPTIONS)
    embed_collection(collection, begun, TINY, **OPTIONS)
    monkeypatch.setattr(recipe_module, "load_encoder", load)
    assert embed_collection(collection, begun, TINY, **OPTIONS) == Written(N_FILES, N_FILES, 0)


@pytest.fixture
def begun(collection, tmp_path):
    """A run that lacks only its last part."""
    out = tmp_path / "begun.parquet"
    embed_collection(collection, out, TINY, **OPTIONS)
    (out / "part-00004.parquet").unlink()
    return out


@pytest.mark.parametrize(
    ("recipe", "rows_per_part", "message"),
    [
        (
            Recipe("skclip/tiny", features="pooled"),
            10,
            r"another features \(projected, now pooled\)",
        ),
        (Recipe("skclip/tiny", normalize=False), 10, "another normalize"),
        (Recipe("skclip/tiny", dtype="bfloat16"), 10, r"dtype \(float32, now bfloat16\)"),
        (
            Recipe("skclip/tiny", preprocess="exact"),
            10,
            r"prepare images \(fast .*, now exact .*\)",
        ),
        (TINY, 11, r"rows_per_part \(10, now 11\)"),
    ],
)
def test_another_recipe_is_refused(collection, begun, recipe, rows_per_part, message):
    before = times_of_parts(begun)
    with pytest.raises(ValueError, match=f"vectors of another run: .*{message}.*overwrite"):
        embed_collection(collection, begun, recipe, rows_per_part=rows_per_part)
    assert times_of_parts(begun) == before


def test_another_model_is_refused(collection, begun, monkeypatch):
    describe = Recipe.describe
    monkeypatch.setattr(Recipe, "describe", lambda self: {**describe(self), "model": "other"})
    with pytest.raises(ValueError, match=r"another model \([0-9a-f]+, now 'other'\)"):
        embed_collection(collection, begun, TINY, **OPTIONS)


def test_other_inputs_are_refused(folder, begun):
    for inputs, message in [
        ([folder / "000.png"], r"another number of images \(45, now 1\)"),
        ([*sorted(folder.iterdir())[::-1]], "images with other names, sizes or times of change"),
    ]:
        with pytest.raises(ValueError, match=message):
            embed_collection(open_collection(inputs), begun, TINY, **OPTIONS)


def rewrite_with_the_old_key(part):
    """Name `rows_per_part` in a part's metadata as earlier versions did."""
    table = pq.read_table(part)
    run = json.loads(table.schema.metadata[b"skclip"])
    run["rows_per_shard"] = run.pop("rows_per_part")
    table = table.replace_schema_metadata({"skclip": json.dumps(run)})
    pq.write_table(table, part, use_dictionary=["error"])


def test_parts_of_earlier_versions_are_recognized(collection, begun, expected):
    for part in begun.glob("part-*"):
        rewrite_with_the_old_key(part)
    before = times_of_parts(begun)
    with pytest.raises(ValueError, match=r"another rows_per_part \(10, now 11\)"):
        embed_collection(collection, begun, TINY, rows_per_part=11)
    assert embed_collection(collection, begun, TINY, **OPTIONS) == Written(N_FILES, 40, 0)
    assert before.items() <= times_of_parts(begun).items()
    check_whole(begun, expected)
    metadata = pq.read_metadata(begun / "part-00004.parquet").metadata
    assert json.loads(metadata[b"skclip"])["rows_per_part"] == 10


def test_overwrite_replaces_a_run_unless_the_options_are_bad(collection, folder, begun):
    one = open_collection([folder / "000.png"])
    written = embed_collection(one, begun, TINY, overwrite=True)
    assert written == Written(1, 0, 0)
    assert list(times_of_parts(begun)) == ["part-00000.parquet"]
    with pytest.raises(ValueError, match="features must be"):
        embed_collection(collection, begun, Recipe("skclip/tiny", features="x"), overwrite=True)
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        embed_collection(collection, begun, Recipe(str(folder)), overwrite=True)
    assert list(times_of_parts(begun)) == ["part-00000.parquet"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_files_that_skclip_did_not_write_are_never_overwritten(collection, tmp_path, overwrite):
    out = tmp_path / "out"
    out.mkdir()
    (out / "letter.txt").write_text("dear")
    with pytest.raises(ValueError, match=r"holds 'letter\.txt', which is no part of a run"):
        embed_collection(collection, out, TINY, overwrite=overwrite)
    assert os.listdir(out) == ["letter.txt"]
    (out / "letter.txt").unlink()
    pq.write_table(pa.table({"a": [1]}), out / "part-00000.parquet")
    with pytest.raises(ValueError, match=r"part-00000\.parquet' was not written by skclip"):
        embed_collection(collection, out, TINY, overwrite=overwrite)
    assert pq.read_table(out)["a"].to_pylist() == [1]
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"out must be a directory .* got the file"):
        embed_collection(collection, tmp_path / "file", TINY, overwrite=overwrite)


def test_two_runs_cannot_write_to_one_directory(collection, begun, expected):
    before = times_of_parts(begun)
    with filelock.FileLock(begun / "_lock"):
        with pytest.raises(ValueError, match="another run is writing to .*; wait until it ends"):
            embed_collection(collection, begun, TINY, overwrite=True)
        assert times_of_parts(begun) == before
    embed_collection(collection, begun, TINY, **OPTIONS)
    check_whole(begun, expected)


def test_a_model_that_changes_during_the_run_is_refused(collection, begun, monkeypatch):
    describe = Recipe._describe_loaded
    said = iter([{}, {}, {"model": "other"}])
    monkeypatch.setattr(Recipe, "_describe_loaded", lambda self: describe(self) | next(said))
    with pytest.raises(ValueError, match="changed during the run: another model"):
        embed_collection(collection, begun, TINY, **OPTIONS)
    assert len(times_of_parts(begun)) == 4


def test_bad_options_are_refused_before_anything_is_written(collection, tmp_path):
    with pytest.raises(ValueError, match="rows_per_part must be at least 1, got 0"):
        embed_collection(collection, tmp_path / "out", TINY, rows_per_part=0)
    with pytest.raises(ValueError, match="batch_size must be"):
        embed_collection(collection, tmp_path / "out", Recipe("skclip/tiny", batch_size=0))
    assert os.listdir(tmp_path) == []


def test_progress_starts_where_the_run_was_stopped(collection, begun, capsys):
    embed_collection(collection, begun, TINY, **OPTIONS, verbose=1)
    shown = capsys.readouterr().err.split("\r")
    assert "40/45" in shown[1]
    assert "45/45" in shown[-1]
    assert "image/s" in shown[-1]
    embed_collection(collection, begun, TINY, **OPTIONS)
    assert capsys.readouterr().err == ""


def test_metadata_says_how_vectors_were_made(begun):
    run = json.loads(pq.read_metadata(begun / "part-00000.parquet").metadata[b"skclip"])
    assert run["model"] == load_encoder("skclip/tiny").fingerprint
    assert (run["rows"], run["dtype"], run["normalize"]) == (N_FILES, "float32", True)
