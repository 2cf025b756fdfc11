"""Where embeddings are kept so that each is computed once: a directory, or memory.

Both kinds of store have the same interface. `session` gives one call of an embedder its own access
to the store: ``get`` what is there, ``claim`` what is to be computed, ``put`` it or ``release`` it.
A store is a cache: whatever goes wrong with it costs time, never a result.
"""
