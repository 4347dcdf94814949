# ruff: noqa: B904, PTH113, PTH118, PTH119, PTH207, RUF005, UP024 - the interpreter may be Python 2.7
# mypy: disable-error-code="no-untyped-def, no-untyped-call, var-annotated"
"""Run with dnf 4's own interpreter: refreshes the enabled repositories and prints what happened, one JSON object a line.

The one argument is a JSON object: root, config, cachedir, dbpath, arch (all may be ""), refresh, plugins, seconds. Reads Python 2.7 too.
"""

import glob
import importlib
import json
import logging
import os
import signal
import sys
import time

_OFF = ("0", "no", "false", "off")
_MAX_RETRIES = 3
_MAX_STALL = 30


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
        dnf = importlib.import_module("dnf")
        for name in ("dnf.lock", "dnf.exceptions", "dnf.rpm", "dnf.repo", "dnf.base", "dnf.sack"):
            importlib.import_module(name)
    except ImportError as error:
        say("problem", code="REPO_CONFIG", detail="dnf's Python library cannot be imported: " + str(error))
        return
    say("tool", name="dnf", version=str(dnf.const.VERSION))
    failures = (dnf.exceptions.Error, RuntimeError, EnvironmentError, ValueError)
    try:
        base = open_base(dnf, asked, say)
        base.read_all_repos()
        if asked["plugins"]:
            base.configure_plugins()
        repositories = sorted(base.repos.iter_enabled(), key=lambda repo: repo.id)
    except failures as error:
        say("problem", code="REPO_CONFIG", detail="dnf cannot read its settings: " + str(error))
        return
    for problem in left_out(base):
        say("problem", code="REPO_CONFIG", detail=problem)
    say("enabled", ids=[repo.id for repo in repositories])
    deadline = started + asked["seconds"]
    lock = None
    try:
        lock = locked(dnf, base, deadline)
    except failures as error:
        for repo in repositories:
            say("repository", id=repo.id, error=str(error), **holds(repo))
        return
    try:
        loaded = []
        for repo in repositories:
            said = load(dnf, base, repo, asked["refresh"], deadline)
            say("repository", id=repo.id, **said)
            if said["cache"]:
                loaded.append(repo)
        try:
            say("streams", active=active_streams(dnf, base, loaded))
        except failures + (AttributeError, TypeError) as error:
            say("problem", code="MODULES", detail="dnf cannot say which module streams are active: " + str(error))
    finally:
        lock.__exit__(None, None, None)


def open_base(dnf, asked, say):
    """Return a Base with the settings of the installation that is asked about, and no other."""
    conf = dnf.conf.Conf()
    root = asked["root"]
    if root:
        conf.installroot = root
        conf.config_file_path = asked["config"]
    if not root or asked["config"]:
        conf.read()
    if root:
        conf.reposdir = [inside(root, folder) for folder in conf.reposdir]
        conf.persistdir = inside(root, conf.persistdir)
        conf.logdir = inside(root, conf.logdir)
        conf.varsdir = [inside(root, folder) for folder in conf.varsdir]
        conf.pluginconfpath = [inside(root, folder) for folder in conf.pluginconfpath]
    if asked["cachedir"]:
        conf.cachedir = asked["cachedir"]
    say(
        "main",
        excludes=list(conf.excludepkgs),
        includes=list(conf.includepkgs),
        disable_excludes=list(conf.disable_excludes),
        install_only=list(conf.installonlypkgs),
        plugins=bool(conf.plugins),
    )
    conf.plugins = bool(conf.plugins and asked["plugins"])
    conf.assumeyes = False
    conf.zchunk = False  # nobody else on the data's way reads that form
    conf.substitutions.update_from_etc("/", varsdir=conf.varsdir)
    if asked["arch"]:
        conf.ignorearch = True
        conf.arch = asked["arch"]
        conf.basearch = dnf.rpm.basearch(asked["arch"])
    if conf.releasever is None and asked["dbpath"]:  # without a database there, rpm would make one
        importlib.import_module("rpm").addMacro("_dbpath", asked["dbpath"])
        conf.releasever = dnf.rpm.detect_releasever("/")
    base = dnf.Base(conf)
    if asked["plugins"]:
        base.init_plugins()
        base.pre_configure_plugins()
    return base


def inside(root, path):
    """Return a path below the root, unless it is there already."""
    return path if path == root or path.startswith(root + "/") else os.path.join(root, path.lstrip("/"))


def left_out(base):
    """Say which enabled repositories dnf left out because their settings are wrong: it only logs that."""
    libdnf = importlib.import_module("libdnf")
    files = [base.conf.config_file_path] if os.path.isfile(base.conf.config_file_path) else []
    for folder in base.conf.reposdir:
        files.extend(sorted(glob.glob(os.path.join(folder, "*.repo"))))
    found = []
    for file in files:
        parser = libdnf.conf.ConfigParser()
        try:
            parser.setSubstitutions(base.conf.substitutions)
            parser.read(file)
        except (RuntimeError, EnvironmentError):
            found.append("dnf cannot read " + os.path.basename(file))
            continue
        for section in parser.getData():
            name = libdnf.conf.ConfigParser.substitute(section, base.conf.substitutions)
            if section == "main" or name in base.repos:
                continue
            try:
                enabled = parser.getValue(section, "enabled").strip().lower() not in _OFF
            except (RuntimeError, IndexError):
                enabled = True
            if enabled:
                found.append(
                    "dnf left repository " + name + " out: its settings in " + os.path.basename(file) + " are wrong"
                )
    return found


def locked(dnf, base, deadline):
    """Wait for dnf's own lock of the cache and return it, taken."""
    lock = dnf.lock.build_metadata_lock(base.conf.cachedir, True)
    while True:
        try:
            lock.__enter__()
            return lock
        except dnf.exceptions.LockError:
            if time.time() + 1 >= deadline:
                raise RuntimeError("another program holds the package manager's lock")
            time.sleep(0.5)


def holds(repo):
    """Return what the repository's settings leave out."""
    return {"excludes": list(repo.excludepkgs), "includes": list(repo.includepkgs)}


def load(dnf, base, repo, refresh, deadline):
    """Refresh one repository and say how that went."""
    said = dict(holds(repo), error="", cache="")
    if refresh and time.time() >= deadline:
        return dict(said, error="there was no time left to refresh it")
    repo.skip_if_unavailable = False
    repo.retries = min(_MAX_RETRIES, repo.retries or _MAX_RETRIES)
    repo.timeout = max(1, min(repo.timeout or _MAX_STALL, int((deadline - time.time()) / _MAX_RETRIES)))
    listener = Listener()
    logger = logging.getLogger("dnf")
    logger.addHandler(listener)
    try:
        if refresh:
            repo._repo.expire()
        else:
            repo._repo.setSyncStrategy(dnf.repo.SYNC_ONLY_CACHE)
        repo.load()
        said["cache"] = repo._repo.getCachedir()
    except (dnf.exceptions.Error, RuntimeError, EnvironmentError) as error:
        said.update(error=str(error), causes=listener.causes())
    finally:
        logger.removeHandler(listener)
    return said


def active_streams(dnf, base, repositories):
    """Return name and stream of each active module: enabled ones, default ones that nobody disabled, and what those require.

    It is the answer that dnf itself goes by: with its own solver, of the metadata that was just loaded.
    """
    if not getattr(dnf.base, "WITH_MODULES", False) or not any(modules_file(repo) for repo in repositories):
        return []
    for repo in base.repos.iter_enabled():
        if repo not in repositories:
            repo.disable()  # dnf would try it again
    base.reset(sack=True)
    base._sack = dnf.sack._build_sack(base)
    for repo in repositories:
        base._sack.load_repo(repo._repo, build_cache=True)  # packages alone: no file lists
    base._setup_modular_excludes()
    container = base._moduleContainer
    return sorted(
        {(m.getName(), m.getStream()) for m in container.getModulePackages() if container.isModuleActive(m.getId())}
    )


def modules_file(repo):
    """Return where the repository's modules file is cached; empty when it has none."""
    return repo.get_metadata_path("modules") if hasattr(repo, "get_metadata_path") else ""


class Listener(logging.Handler):
    """Keeps what dnf logs of failed mirrors: its exception only says that all of them failed."""

    def __init__(self):
        logging.Handler.__init__(self)
        self.said = []

    def emit(self, record):
        """Keep one message."""
        self.said.append(record.getMessage())

    def causes(self):
        """Return the lines that name a cause."""
        lines = [line.strip() for text in self.said for line in text.splitlines()]
        return sorted({line[2:] for line in lines if line.startswith("- ")})


if __name__ == "__main__":
    main()
