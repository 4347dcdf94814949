# ruff: noqa: B904, UP024 - the interpreter may be Python 2.7
# mypy: disable-error-code="no-untyped-def, no-untyped-call, var-annotated"
"""Run with yum 3's own interpreter (Python 2): refreshes the enabled repositories and prints what happened, one JSON object a line.

The one argument is a JSON object: root, config, cachedir (all may be ""), refresh, plugins, seconds.
"""

import importlib
import json
import os
import signal
import sys
import time

_MAX_RETRIES = 3


def main():
    """Ask and print. Whatever else is printed meanwhile, by plugins say, goes to standard error."""
    asked = json.loads(sys.argv[1])
    started = time.time()
    signal.alarm(max(1, int(asked["seconds"]) + 5))  # nobody may be left to end us
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(kind, **fields):
        out.write(json.dumps(dict(fields, kind=kind), sort_keys=True) + "\n")
        out.flush()

    try:
        yum = importlib.import_module("yum")
        errors = importlib.import_module("yum.Errors")
    except ImportError as error:
        say("problem", code="REPO_CONFIG", detail="yum's Python library cannot be imported: " + str(error))
        return
    say("tool", name="yum", version=str(yum.__version__))
    failures = (errors.YumBaseError, EnvironmentError, ValueError)
    try:
        base = open_base(yum, asked, say)
        repositories = sorted(base.repos.listEnabled(), key=lambda repo: repo.id)
    except failures as error:
        say("problem", code="REPO_CONFIG", detail="yum cannot read its settings: " + str(error))
        return
    say("enabled", ids=[repo.id for repo in repositories])
    deadline = started + asked["seconds"]
    try:
        take_lock(base, errors, deadline)
    except failures as error:
        for repo in repositories:
            say("repository", id=repo.id, error=str(error), cache="", **holds(repo))
        return
    try:
        for repo in repositories:
            say("repository", id=repo.id, **load(repo, failures, asked["refresh"], deadline))
    finally:
        base.doUnlock()


def open_base(yum, asked, say):
    """Return a YumBase with the settings of the installation that is asked about."""
    base = yum.YumBase()
    base.preconf.debuglevel = 0
    base.preconf.errorlevel = 0
    base.preconf.init_plugins = bool(asked["plugins"])
    if asked["root"]:
        base.preconf.root = asked["root"]
    if asked["config"]:
        base.preconf.fn = asked["config"]
    conf = base.conf
    conf.assumeyes = False
    if asked["cachedir"]:
        conf.cachedir = asked["cachedir"]
        base.repos.setCacheDir(asked["cachedir"])
    say(
        "main",
        excludes=list(conf.exclude),
        includes=list(getattr(conf, "includepkgs", [])),
        disable_excludes=list(conf.disable_excludes),
        install_only=list(conf.installonlypkgs),
        plugins=bool(conf.plugins),
    )
    return base


def take_lock(base, errors, deadline):
    """Wait for yum's own lock."""
    while True:
        try:
            base.doLock()
            return
        except errors.LockError:
            if time.time() + 1 >= deadline:
                raise IOError("another program holds the package manager's lock")
            time.sleep(0.5)


def holds(repo):
    """Return what the repository's settings leave out."""
    return {"excludes": list(repo.exclude), "includes": list(repo.includepkgs)}


def load(repo, failures, refresh, deadline):
    """Refresh one repository, have the XML files cached, and say how that went."""
    said = dict(holds(repo), error="", cache="")
    if refresh and time.time() >= deadline:
        return dict(said, error="there was no time left to refresh it")
    repo.skip_if_unavailable = False
    repo.retries = min(_MAX_RETRIES, repo.retries or _MAX_RETRIES)
    if refresh:
        repo.metadata_expire = 0
    else:
        repo.cache = 1
    try:
        kinds = repo.repoXML.fileTypes()
        for kind in ("primary", "updateinfo", "modules"):  # yum itself would cache primary as a database only
            if kind in kinds:
                repo.retrieveMD(kind)
        said["cache"] = repo.cachedir
    except failures as error:
        said["error"] = str(error)
    return said


if __name__ == "__main__":
    main()
