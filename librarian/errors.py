"""The one error tree. A class's docstring is what the user reads: what happened, what to do."""

from __future__ import annotations


class LibrarianError(Exception):
    """Something went wrong in the library. The log of the System page has the details."""

    def __init__(self, detail: str = "") -> None:
        advice = " ".join((type(self).__doc__ or "").split())
        # LightRAG makes errors anew with a prefix before their text, which has the advice already.
        text = detail if detail.endswith(advice) else f"{detail} {advice}".strip()
        super().__init__(text)
        self.detail = detail


class SettingsError(LibrarianError):
    """Correct the named setting and start again; README.md lists the settings."""


class LibraryError(LibrarianError):
    """The library folder could not be used. Check the path and its permissions."""


class LibraryBusy(LibraryError):
    """Another process owns this library. Close it, or use its address."""


class EmbeddingMismatch(LibraryError):
    """Vectors of two embedding models must never mix."""


class DocumentError(LibrarianError):
    """This document was not accepted; nothing else is affected."""


class UnsupportedDocument(DocumentError):
    """Save it in a format that is read (README lists them; .docx, .pdf and .txt are among them) and
    upload it again."""


class EmptyDocument(DocumentError):
    """It holds no text. Upload a file that has some."""


class UndecodableDocument(DocumentError):
    """Its bytes are not text in an encoding that could be recognised. Save it as UTF-8 and upload
    it again."""


class UnreadableDocument(DocumentError):
    """Open it in the program it was made with, save it anew or as .pdf or .txt, and upload that."""


class EncryptedDocument(DocumentError):
    """Save a copy without the lock and upload that."""


class ScannedDocument(DocumentError):
    """It is a scan: its pages are pictures. Install Tesseract, which recognises their text (OCR),
    with its languages, start this program again and upload the file again."""

    pages = 0  #: of the scan


class RepetitiveDocument(DocumentError):
    """Keep one copy of the passage and upload that."""


class DocumentTooLarge(DocumentError):
    """Split it into smaller parts, or raise the limit named above."""


class NameTaken(DocumentError):
    """Choose to replace the old version, or give the new one another name."""


class UnknownDocument(DocumentError):
    """No document of the library has that name or id. The Library page and `status` list those
    it has."""


class JournalError(LibraryError):
    """No model is asked while its answers cannot be kept. Free disk space or make the library's
    folder writable: the work goes on by itself; nothing is lost."""


class QuestionError(LibrarianError):
    """Ask it in another way."""


class DocumentPaused(LibrarianError):
    """The document was paused; what it has is kept. Resume it to go on."""


class ModelError(LibrarianError):
    """The model could not answer."""


class ModelUnavailable(ModelError):
    """Ollama is not answering. Start it with `ollama serve`; the work goes on from where it was."""


class ModelBusy(ModelError):
    """Ollama has too much in its queue. The call will be repeated."""


class ModelCrashed(ModelError):
    """The model's process stopped in the middle of an answer. The call will be repeated."""


class TruncatedAnswer(ModelError):
    """The answer broke off before its end and was not used. The call will be repeated."""


class EndlessAnswer(ModelError):
    """The model wrote until it was cut off; that was not used. A larger model does so less often,
    and LIBRARIAN_NUM_CTX gives it more room."""


class EmptyAnswer(ModelError):
    """The model answered with nothing. The call will be repeated."""


class MalformedAnswer(ModelError):
    """The answer was not in the form that was asked for and was not used."""


class ModelMissing(ModelError):
    """Get it with `ollama pull` and the model's name, or choose another with LIBRARIAN_LLM_MODEL
    and LIBRARIAN_EMBED_MODEL."""


class ModelUnsuitable(ModelError):
    """The model cannot do what was asked of it. Choose another one."""


class OutOfMemory(ModelError):
    """The model does not fit into memory. Choose a smaller one, or lower LIBRARIAN_NUM_CTX."""


class PromptTooLong(ModelError):
    """The prompt is longer than the model's context. Raise LIBRARIAN_NUM_CTX."""


class BadEmbedding(ModelError):
    """The embedding model gave vectors that cannot be used. Choose another with
    LIBRARIAN_EMBED_MODEL and run `re-embed`."""


class TooManyUnread(ModelError):
    """More than a tenth of the document would be missing. Retry it: only what is missing is asked
    for again."""


class DatabaseUnavailable(LibrarianError):
    """Start PostgreSQL, or see that this machine reaches it; the work goes on by itself from where
    it was, and nothing is lost. `python -m librarian doctor` says more."""


class DatabaseUnfit(LibraryError):
    # No docstring: each says what to do itself.
    pass


class WrongStorage(LibraryError):
    # No docstring: each says where the library is kept, and how to get there.
    pass


class EditRefused(LibrarianError):
    # No docstring: each says what to do itself. Nothing was changed.
    pass


class NameInUse(EditRefused):
    """Merge the two where they are the same, or choose another name."""

    def __init__(self, detail: str = "", name: str = "") -> None:
        super().__init__(detail)
        self.name = name  #: as it is in the graph


class EditEntangled(EditRefused):
    # No docstring: it names what is in the way.
    pass


class NotReady(LibrarianError):
    """The library is still being opened. Try again in a few seconds."""


class Closed(LibrarianError):
    """This library was closed. Load the page again: it shows the one that is open now."""


class EngineError(LibrarianError):
    """LightRAG could not do this. The log of the System page has the details."""


AWAITED = (ModelError, DatabaseUnavailable)  # a library that cannot be opened for these is later
