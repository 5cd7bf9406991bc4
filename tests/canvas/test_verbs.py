"""The metrics' closed set of screens is what the panel knows."""

from __future__ import annotations

import ast
import inspect

from intercom_bridge.canvas import panel


def test_each_verb_of_the_panel_is_counted_by_its_name() -> None:
    tree = ast.parse(inspect.getsource(panel._screen))
    known = {
        node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.MatchValue)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    }
    assert known - {""} == panel.VERBS
