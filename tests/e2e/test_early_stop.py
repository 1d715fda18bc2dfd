"""Ctrl-C while Python still imports ends quietly."""

import os
import signal
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_ctrl_c_amid_the_imports_ends_with_130_and_no_traceback(tmp_path):
    # A module that the command line imports tells when it is imported, and takes its time.
    (tmp_path / "typer").mkdir()
    (tmp_path / "typer" / "__init__.py").write_text(
        "import time\nprint('importing', flush=True)\ntry:\n    time.sleep(60)\nexcept BaseException:\n    print('lost')\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    process = subprocess.Popen(
        [sys.executable, "-m", "blissmask", "--help"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "importing\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", "")


@pytest.mark.slow
def test_paths_of_a_configuration_work_under_a_locale_without_them(tmp_path):
    (tmp_path / "c.toml").write_text(
        '[[datasets]]\nimage_directory = "фото"\nmask_directory = "маски"\n', encoding="utf-8"
    )
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    ran = subprocess.run(
        [sys.executable, "-m", "blissmask", "to-alpha", "--config", "c.toml", "--output-directory", "out"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert ran.returncode == 1, ran.stderr
    assert "cannot read the folder: No such file or directory" in ran.stderr
    assert "фото" in ran.stderr
