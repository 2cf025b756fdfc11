"""``skclip embed``: images to vectors in Parquet files."""

import argparse
import sys


def add_parser(commands):
    """Add the command to a parser's subparsers.

    Parameters
    ----------
    commands : the result of ``ArgumentParser.add_subparsers``
    """
    embed = commands.add_parser(
        "embed",
        help="images to vectors in Parquet files",
        description="Embed images into a directory of Parquet files with the columns id, path, "
        "vector and error. The same command again goes on where a run was stopped.",
    )
    embed.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="a folder, an image file, a table (.csv, .tsv, .parquet), a webdataset shard (.tar), "
        "or a pattern: 'photos/**/*.jpg', 'shards-{000..010}.tar'",
    )
    embed.add_argument("--out", required=True, metavar="DIR", help="such as vectors.parquet")
    embed.add_argument(
        "--model",
        default="openai/clip-vit-base-patch32",
        metavar="NAME",
        help="a bundled name, a hub id, a directory or a file (default: %(default)s)",
    )
    embed.add_argument("--features", choices=["projected", "pooled"], default="projected")
    embed.add_argument(
        "--no-normalize",
        dest="normalize",
        action="store_false",
        help="keep the vectors' lengths, which are 1 otherwise",
    )
    embed.add_argument("--batch-size", type=_int_or_auto, default="auto", metavar="N")
    embed.add_argument("--device", default="auto", help="such as cpu or cuda:1 (default: auto)")
    embed.add_argument("--dtype", choices=["auto", "float32", "bfloat16"], default="auto")
    embed.add_argument(
        "--n-jobs", type=int, metavar="N", help="threads that read images (default: all cores)"
    )
    embed.add_argument("--cache", metavar="DIR", help="an embedding store to use and to fill")
    embed.add_argument(
        "--preprocess",
        choices=["fast", "exact"],
        default="fast",
        help="exact: the published preprocessing bit for bit (default: %(default)s)",
    )
    embed.add_argument(
        "--compile", action="store_true", help="compile the model first, which pays on a GPU"
    )
    embed.add_argument(
        "--rows-per-shard",
        type=_positive,
        default=4096,
        metavar="N",
        help="rows of one Parquet file, and what an interruption costs at most "
        "(default: %(default)s)",
    )
    embed.add_argument(
        "--column", metavar="NAME", help="the tables' column of images (default: image)"
    )
    embed.add_argument(
        "--id-column", metavar="NAME", help="the tables' column of ids (default: row numbers)"
    )
    embed.add_argument(
        "--scheduler", metavar="ADDRESS", help="embed on the workers of this Dask scheduler"
    )
    embed.add_argument(
        "--overwrite", action="store_true", help="remove what an earlier run left in --out"
    )
    embed.add_argument("--quiet", action="store_true", help="show no progress bar")
    embed.set_defaults(run=run)


def run(options):
    """Embed what the options name and say what was written.

    Parameters
    ----------
    options : argparse.Namespace

    Returns
    -------
    code : int
        0, whether or not some images could not be read.
    """
    # imported here, so that --help is quick
    from skclip.encode.bulk.run import Recipe, embed_collection
    from skclip.inputs.collections.collection import open_collection

    collection = open_collection(options.inputs, column=options.column, id_column=options.id_column)
    recipe = Recipe(
        model=options.model,
        features=options.features,
        normalize=options.normalize,
        batch_size=options.batch_size,
        device=options.device,
        dtype=options.dtype,
        n_jobs=options.n_jobs,
        cache=options.cache,
        preprocess=options.preprocess,
        compile=options.compile,
    )
    written = embed_collection(
        collection,
        options.out,
        recipe,
        rows_per_shard=options.rows_per_shard,
        scheduler=options.scheduler,
        overwrite=options.overwrite,
        verbose=0 if options.quiet else 1,
    )
    before = f" ({written.n_rows_before} were there before)" if written.n_rows_before else ""
    print(f"{written.n_rows} rows in {options.out}{before}", file=sys.stderr)
    if written.n_errors:
        print(
            f"{written.n_errors} of them could not be read: the column 'error' says why",
            file=sys.stderr,
        )
    return 0


def _int_or_auto(text):
    return text if text == "auto" else _positive(text)


def _positive(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return value
