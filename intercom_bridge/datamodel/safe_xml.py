"""Parse uploaded XML. Uploads are not trusted: DTDs and entities are rejected, and the size is limited."""

from typing import NoReturn
from xml.parsers import expat

# iTop's compiled data model has about 100,000 elements, most of them labels.
MAX_ELEMENTS = 500_000
# The errors of a file that was cut off.
_UNEXPECTED_END = {
    expat.errors.codes[message]
    for message in (
        expat.errors.XML_ERROR_NO_ELEMENTS,
        expat.errors.XML_ERROR_UNCLOSED_TOKEN,
        expat.errors.XML_ERROR_UNCLOSED_CDATA_SECTION,
        expat.errors.XML_ERROR_PARTIAL_CHAR,
    )
}


class FileError(Exception):
    """The file cannot be used. The message says where and what to do. `line` is 0 if no line is to blame."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(f"Line {line}: {message}" if line else message)
        self.line = line


class XmlReader:
    """The base class of readers. Subclasses override `start`, `end` and `text`, which `parse` calls."""

    # Raised if the file is rejected.
    error: type[FileError] = FileError
    # The last sentence of the error's message.
    advice = ""
    max_depth = 50

    def __init__(self) -> None:
        self._depth = self._elements = 0
        self._parser = parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self.text
        parser.StartDoctypeDeclHandler = self._refuse_declaration
        parser.EntityDeclHandler = self._refuse_declaration
        parser.ExternalEntityRefHandler = self._refuse_declaration

    def parse(self, data: bytes) -> None:
        """Parse the whole file at once. In pieces, a long token would be slow: expat reads it again with each piece."""
        try:
            self._parser.Parse(data, True)
        except expat.ExpatError as error:
            reason = f"this is not well-formed XML: {expat.ErrorString(error.code)}."
            if error.code in _UNEXPECTED_END:
                reason = "the file ends here, in the middle of the data model. Copy it again."
            raise self.error(f"{reason} {self.advice}".rstrip(), error.lineno) from error
        except (ValueError, LookupError) as error:
            # Raised for an encoding that Python does not have.
            raise self.error(
                "the encoding of this XML is unknown. Save it as UTF-8 and try again."
            ) from error

    def start(self, name: str, attributes: dict[str, str]) -> None:
        raise NotImplementedError

    def end(self, name: str) -> None:
        raise NotImplementedError

    def text(self, text: str) -> None:
        raise NotImplementedError

    @property
    def line(self) -> int:
        return self._parser.CurrentLineNumber

    def refuse(self, reason: str) -> NoReturn:
        raise self.error(f"{reason} {self.advice}".rstrip(), self.line)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        self._elements += 1
        if self._depth > self.max_depth:
            self.refuse("the elements are nested too deep.")
        if self._elements > MAX_ELEMENTS:
            self.refuse(f"the file has more than {MAX_ELEMENTS:,} elements; a data model has about 100,000.")
        self.start(name, attributes)

    def _end(self, name: str) -> None:
        self._depth -= 1
        self.end(name)

    def _refuse_declaration(self, *_: object) -> NoReturn:
        self.refuse("a DTD or an entity is declared here. A data model never has any.")
