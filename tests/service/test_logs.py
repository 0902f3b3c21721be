"""How the log of a server looks, in parts: styles, and exceptions without the values they quote."""

import io
import json
import logging

import pytest

from gephyra.service.logs import LogStyle, logged

SECRET = "value-5f3a"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def said(stream: io.StringIO, style: LogStyle = LogStyle.AUTO) -> str:
    with logged(style, stream):
        logging.getLogger("gephyra.test").warning("%d of %s", 3, "them", extra={"code": "OK"})
    logging.getLogger("gephyra.test").warning("not any more")
    return stream.getvalue()


@pytest.mark.parametrize(("stream", "style"), [(io.StringIO(), LogStyle.AUTO), (Terminal(), LogStyle.JSON)])
def test_programs_get_a_json_object_a_line(stream: io.StringIO, style: LogStyle) -> None:
    (line,) = said(stream, style).splitlines()
    told = json.loads(line)
    assert told.pop("time").endswith("Z")
    assert told == {"message": "3 of them", "level": "warning", "logger": "gephyra.test", "code": "OK"}


@pytest.mark.parametrize(("stream", "style"), [(Terminal(), LogStyle.AUTO), (io.StringIO(), LogStyle.TEXT)])
def test_people_get_columns(stream: io.StringIO, style: LogStyle) -> None:
    text = said(stream, style)
    assert "3 of them" in text
    assert not text.startswith("{")
    # Colours belong at a terminal only.
    assert ("\x1b[" in text) == stream.isatty()


@pytest.mark.parametrize("style", [LogStyle.JSON, LogStyle.TEXT])
def test_an_exception_shows_where_it_was_and_not_what_it_quotes(style: LogStyle) -> None:
    stream = io.StringIO()
    values = {"secret": SECRET}
    try:
        try:
            int(values["secret"])
        except ValueError as error:
            raise KeyError(values["secret"]) from error
    except KeyError:
        with logged(style, stream):
            logging.getLogger("gephyra.test").exception("it failed")
    text = stream.getvalue()
    assert SECRET not in text
    assert text.index("ValueError") < text.index("KeyError")
    assert 'int(values["secret"])' in text.replace('\\"', '"')


def test_the_words_of_the_system_are_told() -> None:
    stream = io.StringIO()
    with logged(LogStyle.JSON, stream):
        logging.getLogger("gephyra.test").error("no", exc_info=OSError(28, "No space left on device"))
    assert json.loads(stream.getvalue())["exception"] == "OSError: No space left on device"
