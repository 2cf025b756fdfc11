"""Write tables and shards, and read their rows."""

import io
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq

from skclip.inputs.collections.collection import open_collection


def write_table(path, columns, **options):
    pq.write_table(pa.table(columns), path, **options)
    return path


def write_tar(path, files, **options):
    with tarfile.open(path, "w", **options) as tar:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def rows_of(*inputs, **options):
    collection = open_collection(inputs, **options)
    return collection.rows(0, len(collection))
