"""What a build refuses, and what an import without one says."""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import skfusion

PACKAGE = Path(skfusion.__file__).parent
SOURCES = Path(__file__).parents[1] / "skfusion"
COMPILER = shlex.split(sysconfig.get_config_var("CC") or "cc")
needs_compiler = pytest.mark.skipif(shutil.which(COMPILER[0]) is None, reason="needs a C compiler")


def compile_loops(*flags):
    """Whether the compiler takes ``_loops.h`` under these flags, and what it says, in English."""
    program = "#include <stddef.h>\ntypedef ptrdiff_t Py_ssize_t;\n#include <_loops.h>\n"
    command = [*COMPILER, "-fsyntax-only", "-fopenmp-simd", f"-I{SOURCES}", *flags, "-xc", "-"]
    english = os.environ | {"LC_ALL": "C", "LANGUAGE": "C"}
    done = subprocess.run(command, input=program, env=english, capture_output=True, text=True, check=False)
    return done.returncode == 0, done.stderr


@needs_compiler
@pytest.mark.parametrize("flags", [("-Ofast",), ("-O3", "-ffast-math"), ("-O3", "-ffinite-math-only")], ids=" ".join)
def test_fast_math_is_refused(flags):
    taken, told = compile_loops(*flags)
    assert not taken and "take them out of CFLAGS" in told
    taken, told = compile_loops(*flags, "-fno-fast-math", "-fno-finite-math-only")
    assert taken, told


@needs_compiler
def test_arithmetic_wider_than_its_type_is_refused():
    taken, told = compile_loops("-mfpmath=387")
    if "unit is not supported" in told or "unrecognized" in told:
        pytest.skip("this compiler has no x87")
    assert not taken and "add -msse2 -mfpmath=sse" in told
    taken, told = compile_loops("-mfpmath=sse")
    assert taken, told


def test_import_without_the_core_says_what_to_do(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "skfusion", ignore=shutil.ignore_patterns("*.so", "*.pyd"))
    # Without `site`, which would find the core of an editable installation.
    run = subprocess.run(
        [sys.executable, "-S", "-c", "import skfusion"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": sysconfig.get_path("purelib")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stderr.splitlines()[-1] == (
        f"ImportError: the compiled core of skfusion is not in {tmp_path / 'skfusion'}: if this is a clone of the "
        "repository, run `pip install --editable .` in it, or start Python in another folder to import what is "
        "installed"
    )
