"""What is hidden stays hidden: in commands, in changes, in the texts of others."""

import json
import shlex

from pyinfra.api import StringCommand
from pyinfra_cli.util import json_encode

from unterbau import changes
from unterbau.secrets.hidden import MASK, Hidden, redact


def test_a_command_shows_the_mask_and_runs_the_value() -> None:
    command = StringCommand("set", Hidden("hunter2-canary"))
    assert str(command) == f"set {MASK}"
    assert command.get_raw_value() == "set hunter2-canary"


def test_texts_of_others_are_redacted_line_by_line() -> None:
    Hidden("first-canary-line\nsecond-canary-line")
    assert redact("error near second-canary-line!") == f"error near {MASK}!"


def test_the_longer_of_two_overlapping_values_is_masked_whole() -> None:
    Hidden("overlap")
    Hidden("overlap-longer")
    assert redact("overlap-longer") == MASK


def test_an_attribute_is_never_unmasked() -> None:
    with changes.recording() as record:
        changes.attribute("password", Hidden("old-canary"), Hidden("new-canary"))
    assert record.changes == [changes.AttributeChange("password", MASK, MASK)]


def test_a_secret_text_shows_no_line() -> None:
    with changes.recording() as record:
        changes.text("/etc/key", "old-text", "new-text", secret=True)
    assert record.changes == [changes.TextChange("/etc/key", changes.HIDDEN)]


def test_json_output_of_plain_pyinfra_masks() -> None:
    assert json.dumps({"value": Hidden("json-canary")}, default=json_encode) == f'{{"value": "{MASK}"}}'


def test_a_value_that_an_error_text_quotes_is_redacted() -> None:
    value = 'it\'s "a" quoted\\canary'
    Hidden(value)
    for spelled in (shlex.quote(value), json.dumps(value), repr(value)):
        assert "canary" not in redact(f"cannot use {spelled}")


def test_ordinary_lines_of_a_text_of_many_are_no_secrets_by_themselves() -> None:
    Hidden("Port 22\nuser\nthe-long-canary-token")
    assert redact("user of Port 22: the-long-canary-token") == f"user of Port 22: {MASK}"
