"""Constructs forbidden in hftool, since each allows code execution by untrusted files (see hftool/models/safety.py)."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted([*(ROOT / "hftool").rglob("*.py"), *(ROOT / "recipes").rglob("*.py")])
MODULES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
CALLS = {
    "torch.load",
    "np.load",
    "numpy.load",
    "os.system",
    "os.popen",
    "yaml.load",
    "yaml.unsafe_load",
    "pickle.load",
    "pickle.loads",
}
BUILTINS = {"eval", "exec", "__import__", "compile"}
MUST_BE_FALSE = {"trust_remote_code", "shell", "allow_pickle"}  # keyword arguments that must be False


def forbidden(path):
    """file:line: name of each forbidden construct in a file."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, a.name) for a in node.names if a.name.split(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom):
            found += [(node.lineno, node.module)] if str(node.module).split(".")[0] in MODULES else []
            found += [(node.lineno, f"torch.{a.name}") for a in node.names if node.module == "torch" and a.name == "load"]
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            found += [(node.lineno, name)] if name in CALLS | BUILTINS else []
            for keyword in node.keywords:
                harmless = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
                found += [(node.lineno, f"{keyword.arg}=")] if keyword.arg in MUST_BE_FALSE and not harmless else []
    return [f"{path.name}:{line}: {what}" for line, what in found]


WRITES = ("print", "sys.exit", "exit", "quit", "typer.echo", "sys.stdout.write", "sys.stderr.write")
WRITERS = ("__main__.py", "progress/display.py", "server/http/log_writer.py")  # beside hftool/cli


def prints(path):
    """file:line of each print or write to the terminal, except those under `if __name__ == "__main__"`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    main = [n for n in tree.body if isinstance(n, ast.If) and "__name__" in ast.unparse(n.test)]
    allowed = {id(inner) for block in main for inner in ast.walk(block)}
    return [
        f"{path.name}:{node.lineno}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in WRITES and id(node) not in allowed
    ]


def test_no_forbidden_constructs():
    assert len(FILES) > 30
    assert [line for path in FILES for line in forbidden(path)] == []


def test_only_the_command_line_and_main_blocks_of_recipes_print():
    quiet = [path for path in FILES if "cli" not in path.parts and not path.as_posix().endswith(WRITERS)]
    assert [line for path in quiet for line in prints(path)] == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "def f():\n    from pickle import loads",
        "import torch\ntorch.load('x')",
        "from torch import load",
        "f(trust_remote_code=True)",
        "f(trust_remote_code=flag)",
        "subprocess.run('ls', shell=True)",
        "np.load('x', allow_pickle=True)",
        "eval('1')",
        "exec('1')",
        "os.system('ls')",
        "yaml.load(text)",
    ],
)
def test_the_check_finds_violations(tmp_path, code):
    path = tmp_path / "bad.py"
    path.write_text(code, encoding="utf-8")
    assert forbidden(path)


def test_the_print_check_finds_violations(tmp_path):
    path = tmp_path / "bad.py"
    path.write_text("def f():\n    print(1)\n    typer.echo(1)\nif __name__ == '__main__':\n    print(2)\n", encoding="utf-8")
    assert prints(path) == ["bad.py:2", "bad.py:3"]
