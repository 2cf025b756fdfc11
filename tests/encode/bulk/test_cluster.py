"""Embedding on a real Dask cluster of two worker processes on this machine."""

import logging
import os
import signal
import socket
import sys
import tarfile
import threading

import dask
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dask.distributed import Client, LocalCluster
from PIL import Image

from skclip.encode.bulk import cluster as cluster_module
from skclip.encode.bulk.recipe import Recipe
from skclip.encode.bulk.run import Written, embed_collection
from skclip.encode.encoder import load_encoder
from skclip.encode.images import embed_images
from skclip.estimators.image_embedder import CLIPImageEmbedder
from skclip.inputs.collections.collection import open_collection

TINY = Recipe("skclip/tiny")
N_FILES = 60


def unit_vectors(paths):
    vectors = embed_images(load_encoder("skclip/tiny"), paths)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def scheduler():
    options = {"dashboard_address": ":0", "silence_logs": logging.CRITICAL}
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, **options) as cluster,
    ):
        yield cluster.scheduler_address


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Small image files; the last one is empty."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    paths = [folder / f"{i:03}.png" for i in range(N_FILES)]
    for path in paths[:-1]:
        pixels = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((40, 30)).save(path)
    paths[-1].write_bytes(b"")
    return paths


@pytest.fixture(scope="module")
def expected(files):
    paths = [str(path) for path in files[:-1]]
    return unit_vectors(paths)


@pytest.fixture
def collection(files, tmp_path):
    """A third as files, a third in a tar shard, a third as bytes in a Parquet file."""
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for path in files[20:40]:
            tar.add(path, arcname=path.name)
    contents = [path.read_bytes() for path in files[40:]]
    pq.write_table(pa.table({"image": contents}), tmp_path / "x.parquet", row_group_size=7)
    return open_collection([*files[:20], tmp_path / "x.tar", tmp_path / "x.parquet"])


def test_a_cluster_without_workers_is_waited_for_with_a_warning():
    options = {"dashboard_address": ":0", "silence_logs": logging.CRITICAL}
    with LocalCluster(n_workers=0, processes=False, **options) as cluster:
        timer = threading.Timer(0.5, cluster.scale, [1])
        timer.start()
        address = cluster.scheduler_address
        with (
            pytest.warns(RuntimeWarning, match="has no workers yet") as caught,
            cluster_module.cluster(address, TINY) as workers,
        ):
            assert workers.check()["dtype"] == "float32"
        assert caught[0].filename == __file__
        timer.join()


def check_whole(out, collection, expected):
    frame = pd.read_parquet(out)
    assert frame["id"].tolist() == collection.rows(0, N_FILES).ids
    assert frame["error"].notna().tolist() == [False] * (N_FILES - 1) + [True]
    np.testing.assert_allclose(np.stack(frame["vector"][:-1]), expected, atol=1e-5)


def test_only_a_few_jobs_are_submitted_at_once(scheduler):
    taken = []

    def jobs():
        for key in range(30):
            taken.append(key)
            yield key, [None]

    done = []
    with cluster_module.cluster(scheduler, TINY) as workers:
        described = workers.describe()
        for key, [(rows, vectors, errors)] in workers.embed_all(jobs(), described):
            done.append(key)
            assert len(taken) <= len(done) + 2 * 2
            assert rows.tolist() == [0]
            assert np.isnan(vectors).all()
            assert list(errors) == [0]
    assert sorted(done) == list(range(30))
    assert described == TINY.describe()


def test_an_error_on_a_worker_is_raised_here(scheduler, files, tmp_path):
    recipe = Recipe("skclip/tiny", batch_size=0)
    with pytest.raises(ValueError, match="batch_size must be"):
        embed_collection(open_collection(files), tmp_path / "out", recipe, scheduler=scheduler)


def test_paths_are_absolute_for_workers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    recipe = cluster_module._with_absolute_paths(Recipe("model", cache="store"))
    assert recipe.model == str(tmp_path / "model")
    assert recipe.cache == str(tmp_path / "store")
    monkeypatch.setenv("HOME", "/home/a")
    assert cluster_module._with_absolute_paths(Recipe("model", cache="~/b")).cache == "/home/a/b"
    assert cluster_module._with_absolute_paths(Recipe("model", cache="memory")).cache == "memory"
    (tmp_path / "skclip" / "tiny").mkdir(parents=True)
    for name in ("skclip/tiny", "org/name"):
        assert cluster_module._with_absolute_paths(Recipe(name)) == Recipe(name)


def test_an_address_without_a_scheduler_is_an_error(files, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "0.2s"}),
        pytest.raises(OSError, match=f"no Dask scheduler answers at '{address}'"),
    ):
        embed_collection(open_collection(files), tmp_path / "out", TINY, scheduler=address)


def test_a_missing_dask_is_an_error_that_names_the_extra(files, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "dask.distributed", None)
    with pytest.raises(ImportError, match=r"pip install 'skclip\[dask\]'"):
        embed_collection(open_collection(files), tmp_path / "out", TINY, scheduler="tcp://a:1")


def test_an_embedder_works_in_map_partitions(scheduler, files, expected):
    # the code of the guide
    dd = pytest.importorskip("dask.dataframe")
    embedder = CLIPImageEmbedder("skclip/tiny", on_error="nan").set_output(transform="pandas")
    names = embedder.get_feature_names_out()
    frame = pd.DataFrame({"image": [str(path) for path in files[:-1]]})
    table = dd.from_pandas(frame, npartitions=4)
    vectors = table[["image"]].map_partitions(
        embedder.transform, meta=pd.DataFrame(columns=names, dtype="float32")
    )
    with Client(scheduler, set_as_default=False) as client:
        found = client.compute(vectors).result()
    assert found.columns.tolist() == list(names)
    assert found.index.equals(frame.index)
    np.testing.assert_allclose(found, expected, atol=1e-5)


# These come last: a worker that is killed is replaced by one that has not loaded the model.


def test_a_run_survives_a_killed_worker(scheduler, collection, expected, tmp_path, monkeypatch):
    with Client(scheduler, set_as_default=False) as client:
        victim = min(client.run(os.getpid).values())
    died = tmp_path / "died"

    def embed_or_die(recipe, images, described):
        result = recipe.embed(images, described)
        if os.getpid() == victim:
            died.touch()
            os.kill(victim, signal.SIGKILL)
        return result

    # pickled by value, because no module has it
    monkeypatch.setattr(cluster_module, "_embed", embed_or_die)
    out = tmp_path / "out"
    written = embed_collection(collection, out, TINY, rows_per_part=7, scheduler=scheduler)
    assert died.exists()
    assert written == Written(N_FILES, 0, 1)
    check_whole(out, collection, expected)
    assert len(list(out.glob("part-*"))) == 9
    # a run that was begun on the cluster can be finished without it
    (out / "part-00003.parquet").unlink()
    written = embed_collection(collection, out, TINY, rows_per_part=7)
    assert written == Written(N_FILES, N_FILES - 7, 1)
    check_whole(out, collection, expected)


def test_images_that_kill_every_worker_are_an_error(scheduler, files, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster_module, "_embed", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(OSError, match="the same images were on every worker that died"):
        embed_collection(open_collection(files[:1]), tmp_path / "out", TINY, scheduler=scheduler)
    assert os.listdir(tmp_path) == []
