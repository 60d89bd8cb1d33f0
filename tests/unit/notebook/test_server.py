"""What the zygote of notebook servers imports, and what it puts off."""

import subprocess
import sys

_STORY = """
import sys
from lms.outposts.notebook.server import import_late

import_late()
from jsonschema import Draft202012Validator

assert "lark" not in sys.modules, "a grammar was compiled"

checker = Draft202012Validator.FORMAT_CHECKER
assert checker.conforms("http://예시.kr/책", "iri")
assert not checker.conforms("http://a b", "iri")
assert "lark" in sys.modules
"""


def test_a_grammar_that_servers_do_not_use_is_compiled_when_it_is_asked_for() -> None:
    result = subprocess.run(
        [sys.executable, "-c", _STORY], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
