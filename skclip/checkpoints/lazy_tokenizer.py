"""A tokenizer that is built when it is first asked for; images need none."""

import threading

from skclip.checkpoints.openai_vocabulary import find_openai_vocabulary
from skclip.exceptions import ModelNotAvailableError
from skclip.model.vocabulary import Vocabulary


class LazyTokenizer:
    """The tokenizer of a checkpoint, before or after it is built.

    Parameters
    ----------
    vocabulary : Vocabulary or None
        None for OpenAI's, which is looked for when the tokenizer is built.
    context_length : int
    source : str
        The checkpoint, for messages.
    local_files_only : bool, default=False
        Do not ask the hub for a vocabulary.
    """

    def __init__(self, vocabulary, context_length, *, source, local_files_only=False):
        self._vocabulary = vocabulary
        self._context_length = context_length
        self._source = source
        self._local_files_only = local_files_only
        self._tokenizer = None
        self._lock = threading.Lock()

    @classmethod
    def of(cls, tokenizer, *, source):
        """Return the lazy form of a `Tokenizer`."""
        vocabulary = Vocabulary(
            tokenizer.vocab, tokenizer.merges, tokenizer.start_token, tokenizer.end_token
        )
        return cls(vocabulary, tokenizer.context_length, source=source)

    def get(self):
        """Return the `Tokenizer`. Threads may call this at once.

        Raises
        ------
        ModelNotAvailableError
            If the checkpoint has no tokenizer files, and OpenAI's vocabulary is not found.
        """
        with self._lock:
            if self._tokenizer is None:
                self._tokenizer = self._build()
            return self._tokenizer

    def _build(self):
        from skclip.model.tokenizer import Tokenizer  # here, because it imports ftfy

        if self._vocabulary is None:
            try:
                self._vocabulary = find_openai_vocabulary(local_files_only=self._local_files_only)
            except ModelNotAvailableError as error:
                raise ModelNotAvailableError(
                    f"{self._source} has no tokenizer files, and its texts need OpenAI's "
                    "vocabulary. Put vocab.json and merges.txt, or bpe_simple_vocab_16e6.txt.gz, "
                    f"beside the weights, or install open_clip_torch, which has a copy; {error}"
                ) from error
        known = self._vocabulary
        return Tokenizer(
            known.vocab,
            known.merges,
            context_length=self._context_length,
            start_token=known.start_token,
            end_token=known.end_token,
        )

    def __reduce__(self):
        state = (self._vocabulary, self._context_length, self._source, self._local_files_only)
        return _rebuild, state


def _rebuild(vocabulary, context_length, source, local_files_only):
    return LazyTokenizer(
        vocabulary, context_length, source=source, local_files_only=local_files_only
    )
