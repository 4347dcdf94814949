"""What the programs for old package managers do, with stand-ins that have the shape of the real libraries and commands.

yum 3 needs Python 2 and dnf 5 a newer system than most that build this, so the stand-ins are written after yum 3.4.3's yumRepo.py
and after dnf 5's manual pages. dnf 4 is asked for real in tests/integration.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from common.manifest import ProblemCode, Stream
from uniagent.collect import asked, dnf, modules, repos
from uniagent.collect.asked import HOST_PROGRAMS, Question
from uniagent.collect.model import AskedRepository
from uniagent.collect.runner import End, Ran, Runner

YUM = """
import os
from yum import Errors
__version__ = "3.4.3"

class Record(object):
    def __init__(self, **fields):
        self.__dict__.update(fields)

class RepoXML(object):
    def __init__(self, kinds):
        self.kinds = kinds
    def fileTypes(self):
        return self.kinds

class Repo(object):
    def __init__(self, name, cachedir):
        self.id, self.cachedir, self.retries, self.skip_if_unavailable = name, cachedir, 10, True
        self.exclude, self.includepkgs, self.retrieved = ["nginx"], [], []
    @property
    def repoXML(self):
        print("noise of a plugin on standard output")
        if self.id == "broken":
            raise Errors.RepoError("failure: repodata/repomd.xml from broken: [Errno 256] No more mirrors to try.")
        assert self.skip_if_unavailable is False
        return RepoXML(["primary", "primary_db", "updateinfo"])
    def retrieveMD(self, kind):
        with open(os.path.join(self.cachedir, "retrieved"), "a") as log:
            log.write(kind + "\\n")

class Repos(object):
    def listEnabled(self):
        cache = os.environ["HOME"]
        return [Repo("updates", cache), Repo("broken", cache)]
    def setCacheDir(self, cachedir):
        pass

class YumBase(object):
    def __init__(self):
        self.preconf = Record()
        self.conf = Record(
            exclude=["kernel*"], disable_excludes=[], installonlypkgs=["kernel"], plugins=True, cachedir="/var/cache/yum"
        )
        self.repos, self.locked = Repos(), 0
    def doLock(self):
        if os.path.exists(os.path.join(os.environ["HOME"], "locked")):
            raise Errors.LockError("Existing lock /var/run/yum.pid: another copy is running as pid 17.")
    def doUnlock(self):
        pass
"""
YUM_ERRORS = """
class YumBaseError(Exception):
    pass
class RepoError(YumBaseError):
    pass
class LockError(YumBaseError):
    pass
"""


def interpreters() -> list[str]:
    """Return this Python, and a Python 2 when there is one: itself, not a shim that needs the caller's environment."""
    found = [sys.executable]
    if shim := shutil.which("python2.7"):
        ran = subprocess.run(
            [shim, "-c", "import sys; print(sys.executable)"], capture_output=True, text=True, check=False
        )
        found += [ran.stdout.strip()] if ran.returncode == 0 else []
    return found


@pytest.fixture(params=interpreters(), ids=lambda p: Path(p).name)
def python(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, ...]:
    """An interpreter that has yum 3's library, as far as we use it."""
    (tmp_path / "lib/yum").mkdir(parents=True)
    (tmp_path / "lib/yum/__init__.py").write_text(YUM)
    (tmp_path / "lib/yum/Errors.py").write_text(YUM_ERRORS)
    start = "import sys; a = sys.argv[1:]; sys.path.insert(0, a.pop(0)); [a.remove(x) for x in ('-E', '-s')]; sys.argv = a; "
    start += "exec(compile(open(a[0]).read(), a[0], 'exec'))"
    return (request.param, "-c", start, str(tmp_path / "lib"))


def ask(python: tuple[str, ...], home: Path, **question):
    return asked.ask(
        Runner(30, environment={"HOME": str(home), "PATH": ""}), python, "ask_yum.py", Question(**question)
    )


def test_yum_is_asked_repository_by_repository_and_caches_xml(python: tuple[str, ...], tmp_path: Path) -> None:
    said = ask(python, tmp_path)
    assert said.problems == ()
    assert said.package_manager == "yum 3.4.3"
    assert (said.excludes, said.install_only, said.plugins) == (("kernel*",), ("kernel",), True)
    assert said.repositories == (
        AskedRepository(
            "broken", "failure: repodata/repomd.xml from broken: [Errno 256] No more mirrors to try.", "", ("nginx",)
        ),
        AskedRepository("updates", "", str(tmp_path), ("nginx",)),
    )
    assert (tmp_path / "retrieved").read_text().split() == ["primary", "updateinfo"]


def test_a_yum_that_is_locked_is_waited_for_and_then_an_error_of_each_repository(
    python: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "locked").write_text("")
    said = ask(python, tmp_path, seconds=1.0)
    assert {r.error for r in said.repositories} == {"another program holds the package manager's lock"}


@pytest.mark.parametrize("name", ["ask_dnf.py", "ask_yum.py"])
@pytest.mark.parametrize("interpreter", interpreters(), ids=lambda p: Path(p).name)
def test_an_interpreter_without_the_library_is_a_problem_that_says_so(
    interpreter: str, name: str, tmp_path: Path
) -> None:
    said = asked.ask(Runner(30, environment={"HOME": str(tmp_path)}), (interpreter, "-S"), name, Question())
    (problem,) = said.problems
    assert problem.code is ProblemCode.REPO_CONFIG
    assert "Python library cannot be imported" in problem.detail
    assert not list(HOST_PROGRAMS.glob("*.pyc"))


DNF5 = """#!/bin/sh
case "$*" in
  *--version*) echo 'dnf5 version 5.2.6.0';;
  *--dump-main-config*) echo '======== Main configuration: ========'; echo 'excludepkgs = kernel*, bash'; echo 'plugins = 1';
     echo 'installonlypkgs = kernel, installonlypkg(kernel)';;
  *'repo list'*) echo '[{"id":"updates","name":"U","is_enabled":true},{"id":"bad","name":"B","is_enabled":true}]';;
  *--dump-repo-config=updates*) echo '======== "updates" repository configuration: ========'; echo 'excludepkgs = nginx';;
  *--dump-repo-config*) echo 'excludepkgs = ';;
  *--repo=bad*) echo '>>> Curl error (7): Could not connect to server for http://h/repodata/repomd.xml [after 3 ms]' >&2; exit 1;;
  *--repo=updates*) echo "$*" >> "$HOME/makecache";;
  *) exit 9;;
esac
"""
REPOMD = (
    '<repomd xmlns="http://linux.duke.edu/metadata/repo"><revision>7</revision><data type="primary">'
    '<checksum type="sha256">{}</checksum><location href="repodata/p.xml.zst"/></data></repomd>'
)


def test_dnf5_is_asked_in_json_and_refreshes_each_repository_by_itself(tmp_path: Path) -> None:
    (tmp_path / "dnf5").write_text(DNF5)
    (tmp_path / "dnf5").chmod(0o755)
    cached = tmp_path / "cache/updates-0123456789abcdef/repodata"
    cached.mkdir(parents=True)
    (tmp_path / "cache/updates-testing-0123456789abcdef/repodata").mkdir(parents=True)
    (cached / "p.xml.zst").write_bytes(b"primary")
    (cached / "repomd.xml").write_text(REPOMD.format(hashlib.sha256(b"primary").hexdigest()))
    runner = Runner(30, environment={"HOME": str(tmp_path)})
    question = Question(root="/image", cachedir=str(tmp_path / "cache"), plugins=False)
    said = dnf.ask_dnf5(runner, str(tmp_path / "dnf5"), question)
    assert said.problems == ()
    assert (said.package_manager, said.excludes) == ("dnf 5.2.6.0", ("kernel*", "bash"))
    assert said.install_only == ("kernel", "installonlypkg(kernel)")
    bad, updates = said.repositories
    assert bad.error == "Curl error (7): Could not connect to server (http://h/repodata/repomd.xml)"
    assert (updates.error, updates.excludes) == ("", ("nginx",))
    repository, _, _ = repos.read(updates, refreshed=True)
    assert (repository.error, repository.revision, bool(repository.primary)) == ("", "7", True)
    command = (tmp_path / "makecache").read_text()
    assert "--installroot=/image --setopt=zchunk=0 --no-plugins" in command
    assert "--setopt=updates.skip_if_unavailable=0 makecache" in command


def test_the_question_is_json_that_any_python_reads() -> None:
    assert json.loads(Question(root="/r", refresh=False).encode())["root"] == "/r"


def test_r8_the_streams_that_dnf_counts_as_active_are_taken_from_what_it_says() -> None:
    said = ['{"kind": "enabled", "ids": []}', '{"kind": "streams", "active": [["php", "8.1"], ["nodejs", "20"]]}']
    told = asked.parse(Ran("python3", End.EXITED, stdout="\n".join(said)))
    assert told.streams == (Stream("php", "8.1"), Stream("nodejs", "20"))
    enabled = (Stream("nodejs", "18"), Stream("php", "8.1"))
    assert modules.effective(enabled, told.streams) == (
        Stream("nodejs", "18"),
        Stream("nodejs", "20"),
        Stream("php", "8.1"),
    )
    assert modules.effective(enabled, ()) == enabled
