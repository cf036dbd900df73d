"""How clang's tools see our files: gcc's compile_commands.json with only the flags that both understand."""

import json
import os
import pathlib
import shlex

ROOT = pathlib.Path(__file__).resolve().parents[2]
WITH_VALUE = {"-I", "-isystem", "-D", "-include"}


def own_units(build):
    """(source path, clang arguments) of each of our own .cc files, from BUILD/compile_commands.json."""
    for entry in json.loads((pathlib.Path(build) / "compile_commands.json").read_text()):
        source = pathlib.Path(entry["directory"], entry["file"]).resolve()
        top = source.relative_to(ROOT).parts[0] if source.is_relative_to(ROOT) else ""
        if top in ("proto", "server", "client", "tests"):
            yield source, list(clang_arguments(shlex.split(entry["command"])))


def clang_arguments(words):
    words = iter(words)
    for word in words:
        if word in WITH_VALUE:
            value = next(words)
            if not os.path.basename(value).startswith("cmake_pch"):
                yield from (word, value)
        elif word.startswith(("-I", "-D", "-std=")):
            yield word
    # What kdbg_asio adds when the compiler itself is clang.
    yield from ("-DASIO_HAS_CO_AWAIT=1", "-DASIO_HAS_STD_COROUTINE=1")
