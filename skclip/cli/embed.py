"""``skclip embed``: embed images into Parquet files."""

import argparse
import sys

from skclip.encode.bulk.interrupts import Interrupts


def add_parser(commands):
    """Add the command ``embed`` and its options.

    Parameters
    ----------
    commands : object
        What ``ArgumentParser.add_subparsers`` returns.
    """
    embed = commands.add_parser(
        "embed",
        help="embed images into Parquet files",
        description="Embed images into a directory of Parquet files, which have the columns id, "
        "path, vector and error. To resume a run that was stopped, run the same command again.",
    )
    embed.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="a folder, an image file, a table (.csv, .tsv, .parquet), a webdataset shard (.tar), "
        "or a pattern such as 'photos/**/*.jpg' or 'shards-{000..010}.tar'",
    )
    embed.add_argument(
        "--out", required=True, metavar="DIR", help="output directory, such as vectors.parquet"
    )
    embed.add_argument(
        "--model",
        default="openai/clip-vit-base-patch32",
        metavar="NAME",
        help="a bundled name, a hub id, a directory or a file (default: %(default)s)",
    )
    embed.add_argument(
        "--features",
        choices=["projected", "pooled"],
        default="projected",
        help="projected: embeddings that can be compared with those of texts; pooled: the output "
        "of the image tower before its projection (default: %(default)s)",
    )
    embed.add_argument(
        "--no-normalize",
        dest="normalize",
        action="store_false",
        help="do not scale the vectors to length 1",
    )
    embed.add_argument(
        "--batch-size",
        type=_positive_or_auto,
        default="auto",
        metavar="N",
        help="images that pass through the model together (default: %(default)s)",
    )
    embed.add_argument(
        "--device",
        default="auto",
        help="such as cpu or cuda:1; auto: the first CUDA device if there is one, else the CPU "
        "(default: %(default)s)",
    )
    embed.add_argument(
        "--dtype",
        choices=["auto", "float32", "bfloat16"],
        default="auto",
        help="number format inside the model; auto: bfloat16 on CUDA, else float32 "
        "(default: %(default)s)",
    )
    embed.add_argument(
        "--n-jobs", type=int, metavar="N", help="threads that read images (default: all free cores)"
    )
    embed.add_argument(
        "--cache",
        metavar="DIR",
        help="directory of an embedding store: vectors in it are used, new ones are added",
    )
    embed.add_argument(
        "--preprocess",
        choices=["fast", "exact"],
        default="fast",
        help="exact: the published preprocessing, bit for bit (default: %(default)s)",
    )
    embed.add_argument(
        "--compile",
        action="store_true",
        help="compile the image tower first, which is worth it for many images on CUDA",
    )
    embed.add_argument(
        "--rows-per-part",
        type=_positive,
        default=4096,
        metavar="N",
        help="rows of each Parquet file (default: %(default)s)",
    )
    embed.add_argument(
        "--column", metavar="NAME", help="column of images in tables (default: image)"
    )
    embed.add_argument(
        "--id-column", metavar="NAME", help="column of ids in tables (default: row numbers)"
    )
    embed.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="embed on the workers of the Dask scheduler at this address",
    )
    embed.add_argument(
        "--overwrite",
        action="store_true",
        help="first remove the files of an earlier run from the output directory",
    )
    embed.add_argument("--quiet", action="store_true", help="show no progress bar")
    embed.set_defaults(run=run)


def run(options):
    """Embed the images and print how many rows were written.

    Parameters
    ----------
    options : argparse.Namespace
        The options that `add_parser` defines.

    Returns
    -------
    code : int
        0, even if some images could not be read.
    """
    interrupts = Interrupts()
    with interrupts.installed():
        return _embed(options, interrupts)


def _embed(options, interrupts):
    # imported here, so that --help does not wait for torch
    from skclip.encode.bulk.recipe import Recipe
    from skclip.encode.bulk.run import embed_collection
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
        rows_per_part=options.rows_per_part,
        scheduler=options.scheduler,
        overwrite=options.overwrite,
        verbose=0 if options.quiet else 1,
        interrupts=interrupts,
    )
    before = f" ({written.n_rows_before} were there before)" if written.n_rows_before else ""
    print(f"{written.n_rows} rows in {options.out}{before}", file=sys.stderr)
    if written.n_errors:
        print(
            f"{written.n_errors} of them could not be read: the column 'error' says why",
            file=sys.stderr,
        )
    return 0


def _positive_or_auto(text):
    return text if text == "auto" else _positive(text)


def _positive(text):
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number, at least 1, got {text!r}")
    return value
