"""The PHP reader of config_import, against PHP's manual and independently written literals."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from intercom_bridge.config_import.combodo.php import read_source
from intercom_bridge.config_import.values import ConfigError

from .php_writer import double_quoted, literal, nowdoc, single_quoted
from .plain_values import without_lines

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def value_of(php: str) -> object:
    """Return what the reader makes of one PHP value."""
    source = read_source(f"'combodo-intercom-integration' => array('it' => {php})")
    return without_lines(source.parameters["it"])


def error_message(php: str) -> str:
    with pytest.raises(ConfigError) as error:
        value_of(php)
    return str(error.value)


@given(texts)
@example("It's a \\ and a \\' and $x and {$y} and \"\n")
@example("\\")
def test_a_text_in_single_quotes_reads_as_it_was_written(text: str) -> None:
    assert value_of(single_quoted(text)) == text


@given(texts)
@example("${x} {$y} \\n \\x41 é \U0001f600 \x00\x1b1")
def test_a_text_in_double_quotes_reads_as_it_was_written(text: str) -> None:
    assert value_of(double_quoted(text)) == text


@given(texts.filter(lambda text: "END_OF_IT" not in text and "\r" not in text))
def test_a_nowdoc_reads_as_it_was_written(text: str) -> None:
    assert value_of(nowdoc(text)) == text


keys = texts.filter(lambda key: not key.lstrip("-").isdigit()) | st.integers(-(10**6), 10**6)
values = st.recursive(
    texts | st.booleans() | st.none() | st.integers(-(10**12), 10**12) | st.floats(-1e6, 1e6),
    lambda inner: st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


@given(values, st.sampled_from([0, 1, 2]))
def test_any_value_reads_as_it_was_written(value: object, style: int) -> None:
    assert value_of(literal(value, style)) == value


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_with_a_message(text: str) -> None:
    for php in (text, f"'combodo-intercom-integration' => {text}"):
        try:
            read_source(php)
        except ConfigError as error:
            assert str(error)


@pytest.mark.parametrize(
    ("php", "expected"),
    [
        (r"'a\nb'", r"a\nb"),
        (r'"a\nb\q\\"', "a\nb\\q\\"),
        (r'"\$x \x41\101 \u{e9}"', "$x AA é"),
        (r'"\xC3\xA9"', "é"),
        ('"5 $ and $ 6"', "5 $ and $ 6"),
        ("'a' . \"b\" . 1", "ab1"),
        ("0x1F", 31),
        ("0755", 493),
        ("0b11", 3),
        ("1_000", 1000),
        ("-2.5e1", -25.0),
        (".5", 0.5),
        ("['a', 5 => 'b', 'c', '7' => 'd', 'e']", {0: "a", 5: "b", 6: "c", 7: "d", 8: "e"}),
        ("['a' => 1, 'a' => 2]", {"a": 2}),
        ("array ( )", {}),
        ('<<<EOT\n  one \\"two\\" \\x41\n    three\n  EOT', 'one \\"two\\" A\n  three'),
        ("<<<'EOT'\n$x \\n\nEOT", "$x \\n"),
    ],
)
def test_literals_are_read_as_the_php_manual_defines_them(php: str, expected: object) -> None:
    assert value_of(php) == expected


@pytest.mark.parametrize(
    ("php", "message"),
    [
        ("\n\nPHP_EOL", "Line 3: PHP_EOL is a constant"),
        ("getenv('SECRET')", "getenv is a function call"),
        ("\\Foo\\bar()", "is a function call"),
        ("MyClass::KEY", "is a constant"),
        ("$secret", "$secret is a variable"),
        ('"x $secret"', "this text contains a variable"),
        ('"x {$secret}"', "this text contains a variable"),
        ("'a' . PHP_EOL", "PHP_EOL is a constant"),
        ("'a' . array()", "only text can be joined"),
        ("1 + 1", "+ has to be computed"),
        ("true ? 'a' : 'b'", "? has to be computed"),
        (
            "array(\n'a'\n'b')",
            "Line 3: a comma or ) is expected here, not text. The array was opened in line 1",
        ),
        ("'not closed", "a text is opened with ' and not closed"),
        ("[1 /* ", "a comment is opened with /* and not closed"),
        ("<<<EOT\nnever", "<<<EOT and not closed"),
        ("[1, 2", "a comma or ] is expected here, not )"),
        ("[true => 1]", "an array key must be"),
        (r'"\xFF"', "are not valid UTF-8"),
        (r'"\u{D800}"', "is not a character"),
        ("[" * 60 + "]" * 60, "nested too deep"),
        ("089", "not a valid PHP number"),
    ],
)
def test_code_and_invalid_literals_are_refused_with_a_message(php: str, message: str) -> None:
    assert message in error_message(php)


def test_a_file_that_ends_too_early_is_refused() -> None:
    with pytest.raises(ConfigError, match="Line 2: a value is expected here, not the end of the file"):
        read_source("'combodo-intercom-integration' => array('a' => 1,\n")


def test_an_error_message_never_contains_a_text() -> None:
    assert "s3cr3t" not in error_message("array('sync_app.client_secret' 's3cr3t')")


WHOLE = r"""<?php
/**
 * 'combodo-intercom-integration' => array('scope' => 'in a comment')
 */
define('SOMETHING', dirname(__FILE__)."/x");
$MySettings = array(
	'app_root_url' => 'https://itop.example.com/itop/',
	'db_pwd' => 'it\'s "quoted" ) ]',
	'log' => APPROOT.'log/error.log',
	'access_mode' => defined('ACCESS') ? ACCESS : 3,
	'nested' => array('app_root_url' => 'https://wrong.example.com', 'timezone' => 'x'),
	'timezone' => 'Europe/Paris',
	'mail_footer' => <<<FOOTER
'combodo-intercom-integration' => array()
FOOTER,
);
$MyModuleSettings = array(
	'other-module' => array(
		'computed' => strtoupper('x') . PHP_EOL,
		'combodo-intercom-integration' => array('workspaces' => 'the wrong one'),
	),
	'combodo-intercom-integration' => array(
		'workspaces' => array('abcd1234' => array('scope' => 'SELECT Organization')),
	),
	'yet-another' => array($x, fn() => 1),
);
$MyModules = array('addons' => array('user rights' => 'addons/userrights/userrightsprofile.class.inc.php'));
?>
trailing 'text
"""


def test_the_module_is_found_in_a_whole_configuration_file() -> None:
    source = read_source(WHOLE)
    assert without_lines(source.parameters["workspaces"]) == {"abcd1234": {"scope": "SELECT Organization"}}
    assert {name: without_lines(value) for name, value in source.settings.items()} == {
        "app_root_url": "https://itop.example.com/itop/",
        "timezone": "Europe/Paris",
    }
    assert source.parameters["workspaces"].line == 23


def test_each_value_knows_its_line() -> None:
    source = read_source("'combodo-intercom-integration' => [\n // a comment\n 'a' => 'x\ny',\n 'b' => 1,\n]")
    assert (source.parameters["a"].line, source.parameters["b"].line) == (3, 5)


@pytest.mark.parametrize(
    "php",
    [
        "<?php\nreturn array('combodo-intercom-integration' => array('a' => 1));",
        "  'combodo-intercom-integration' => ['a' => 1],",
        "<?php $MyModuleSettings = ['combodo-intercom-integration' => ['a' => 1]] ?>",
        "<?php $MyModuleSettings['combodo-intercom-integration'] = array('a' => 1);",
    ],
)
def test_a_part_of_a_configuration_file_is_enough(php: str) -> None:
    assert without_lines(read_source(php).parameters["a"]) == 1


@pytest.mark.parametrize(
    "php", ["", "<?php", "<?php $MyModuleSettings = array('other' => array());", "'x' => 1"]
)
def test_a_file_without_the_module_is_refused(php: str) -> None:
    with pytest.raises(ConfigError, match="there is no 'combodo-intercom-integration' => array"):
        read_source(php)


def test_numbers_and_escapes_outside_of_the_module_do_not_matter() -> None:
    other = '$other = array(089, "\\xFF", "\\u{D800}"); $MySettings = array(\'timezone\' => "$zone");'
    source = read_source(
        f"<?php {other} $MyModuleSettings = array('combodo-intercom-integration' => array('a' => 1));"
    )
    assert without_lines(source.parameters["a"]) == 1
    assert not source.settings
