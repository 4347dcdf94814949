"""Bombs of a GiB inside repodata/: `patchctl evaluate` refuses them with a named error and little memory, wherever the folder came from."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import lzma
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from uniagent.collect.model import CachedRepository
from uniagent.inventory_command import write_metadata

pytestmark = pytest.mark.slow

MIB = 1 << 20
SIZE = 1 << 30
BEGIN = {
    "primary": b'<metadata xmlns="http://linux.duke.edu/metadata/common" packages="1">',
    "updateinfo": b"<updates>",
    "modules": b"document: modulemd\nversion: 2\n",
}
PRIMARY = BEGIN["primary"] + b"</metadata>"


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstandard.compress,
}


def write(path: Path, kind: str, packer: str) -> None:
    """Write a bomb; all of these but zip may be parts, each packed by itself, one after the other."""
    spaces = b" " * MIB
    if packer == "zip":
        with (
            zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
            archive.open("bomb", "w", force_zip64=True) as out,
        ):
            out.write(BEGIN[kind])
            for _ in range(SIZE // MIB):
                out.write(spaces)
        return
    pack = PACKERS[packer]
    with path.open("wb") as out:
        out.write(pack(BEGIN[kind]))
        part = pack(spaces)
        for _ in range(SIZE // MIB):
            out.write(part)


@pytest.fixture(scope="module", params=(*PACKERS, "zip"))
def bombs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, dict[str, Path]]]:
    """A bomb of each kind, packed in one way."""
    folder = tmp_path_factory.mktemp("bombs")
    found = {kind: folder / f"{kind}.{request.param}" for kind in BEGIN}
    for kind, path in found.items():
        write(path, kind, request.param)
    yield request.param, found
    shutil.rmtree(folder)


def repository(folder: Path, kind: str, bomb: Path, open_size: int) -> CachedRepository:
    """A repository, whole but for one file."""
    repodata = folder / "repodata"
    repodata.mkdir(parents=True)
    files = {"primary": repodata / "primary.xml", kind: repodata / bomb.name}
    if kind != "primary":
        files["primary"].write_bytes(PRIMARY)
    os.link(bomb, files[kind])
    records = ""
    for name, path in files.items():
        with path.open("rb") as file:
            checksum = hashlib.file_digest(file, "sha256").hexdigest()
        size = open_size if name == kind else len(PRIMARY)
        records += (
            f'<data type="{name}"><checksum type="sha256">{checksum}</checksum><location href="repodata/{path.name}"/>'
            f"<open-size>{size}</open-size><timestamp>1700000000</timestamp></data>"
        )
    repomd = repodata / "repomd.xml"
    repomd.write_text(f'<repomd xmlns="http://linux.duke.edu/metadata/repo">{records}</repomd>')
    return CachedRepository(repomd, files)


PROGRAM = """
import sys
from controller.cli.main import main
try:
    main()
finally:  # not ru_maxrss: a child's begins with what its parent had before exec
    sys.stderr.writelines(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
"""


def evaluated(folder: Path, repo: Path) -> tuple[dict[str, Any], int]:
    """The answer, and the most memory that was used for it, in MiB."""
    inventory = folder / "web-01.txt"
    inventory.write_text("bash-4.2.46-34.el7.x86_64\n")
    command = [sys.executable, "-c", PROGRAM, "evaluate", "-o", "json", "--inventory", inventory, "--repo", repo]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 4, done.stderr  # UNDETERMINED: never compliant
    _, used, _ = done.stderr.split()
    return json.loads(done.stdout), int(used) // 1024


@pytest.mark.parametrize("kind", BEGIN)
@pytest.mark.parametrize("open_size", [SIZE, 1_000, 0], ids=["honest", "lying", "silent"])
def test_a_bomb_of_a_GiB_is_refused_by_name_and_in_little_memory(
    tmp_path: Path, bombs: tuple[str, dict[str, Path]], kind: str, open_size: int
) -> None:
    packed, files = bombs
    cached = repository(tmp_path / "cache/updates", kind, files[kind], open_size)
    if open_size:
        folder = cached.repomd.parent.parent
    else:  # as `uniagent inventory --with-metadata` hands it on
        write_metadata({"updates": cached}, tmp_path / "kept")
        folder = tmp_path / "kept"
    found, used = evaluated(tmp_path, folder)
    assert found["status"] == "UNDETERMINED"
    (reason,) = (r for r in found["reasons"] if r["reason"] == "REPO_ERROR")
    assert f"its {kind} " in reason["detail"]
    assert used < 150, f"{packed} {kind}: {used} MiB"
