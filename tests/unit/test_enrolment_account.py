"""An instance belongs to the account of the token with which its host was let in, and takes nothing from another account."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from common import tls
from controller.api.authority import CertificateDesk, open_keyring
from controller.fleet.model import CmdbEntry, Placement
from controller.store.memory import MemoryStore
from tests.builders import NOW, an_enrolment_token, an_instance
from tests.fakes import FakeClock

DAY = timedelta(days=1)


@pytest.mark.parametrize(("account", "adopts"), [("acme", True), ("other", False)])
async def test_a_host_joins_its_token_s_account_and_adopts_only_what_that_account_s_cmdb_knew(
    tmp_path: Path, account: str, *, adopts: bool
) -> None:
    store = MemoryStore()
    said = CmdbEntry("c-9", NOW, frozenset({"zone"}))
    known = an_instance(9, account="acme", enrolled=False, zone="secret", machine_id="", cmdb=said)
    await store.fleet.put_instance(known)
    await store.fleet.put_enrolment_token(an_enrolment_token(1, account=account))
    authority = open_keyring(tmp_path, ("localhost",), NOW).authority
    desk = CertificateDesk(authority, store.fleet, FakeClock(), DAY)
    request = tls.new_request(tls.new_key())
    made, _, _ = await desk.enroll("secret-1", request, Placement(name=known.name), "m-9")
    enrolled = await store.fleet.get_instance(made)
    assert enrolled.account == account
    assert (enrolled.zone == "secret", enrolled.cmdb is not None) == (adopts, adopts)
    assert ((await store.fleet.get_instance(known.id)).deleted_at is not None) == adopts
