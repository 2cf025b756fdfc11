"""Stores of embeddings, in a directory or in memory, so that each embedding is computed once.

Both kinds of store have the same interface. ``session()`` gives one call of an embedder access to
the store, with four methods: ``get`` returns the stored vectors, ``claim`` reserves the items that
this call will compute, ``put`` stores their vectors, and ``release`` ends a claim without a vector.
A store is a cache: if something goes wrong with it, time is lost, but no result.
"""
