"""FleetService: shows and edits instances, and makes the tokens with which hosts are let in."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Final

from common import digest
from common.clock import Clock
from common.errors import NotFound, PermissionDenied, Rejected
from common.ids import Ids, new_secret
from common.pb.v1 import fleet_pb2 as pb
from common.pb.v1 import fleet_pb2_grpc
from controller.api import paging, translate_fleet
from controller.api.auth import ENROLMENT_PREFIX, operator
from controller.api.bound import BoundBaselines, BoundFleet, whole_account
from controller.api.checks import Checks, reference
from controller.api.cmdb_import import CmdbImports
from controller.api.interception import Context
from controller.api.lookup import find_instance
from controller.api.selecting import Selecting
from controller.api.translate import read_duration
from controller.dispatch.assess import Assessor
from controller.dispatch.clone_watch import CloneWatch
from controller.fleet import lifecycle
from controller.fleet.merging import moved_assignments, moved_exceptions
from controller.fleet.model import EnrolmentToken, Instance, Role
from controller.fleet.selection import why_not
from controller.fleet.sessions import Sessions
from controller.hub.api import Hub

log = logging.getLogger(__name__)

_TOKEN_LIFE: Final = timedelta(hours=24)
_SHORTEST_TOKEN_LIFE: Final = timedelta(minutes=1)
_LONGEST_TOKEN_LIFE: Final = timedelta(days=30)
_MAX_NOTE: Final = 200


class FleetService(fleet_pb2_grpc.FleetServiceServicer):
    """Serves the fleet."""

    def __init__(
        self,
        store: BoundFleet,
        baselines: BoundBaselines,
        sessions: Sessions,
        assessor: Assessor,
        selecting: Selecting,
        clones: CloneWatch,
        hub: Hub,
        clock: Clock,
        ids: Ids,
    ) -> None:
        """Join the parts."""
        self._selecting = selecting
        self._clones = clones
        self._cmdb = CmdbImports(store, clock)
        self._store = store
        self._baselines = baselines
        self._sessions = sessions
        self._assessor = assessor
        self._hub = hub
        self._clock = clock
        self._ids = ids

    async def ListInstances(self, request: pb.ListInstancesRequest, context: Context) -> pb.ListInstancesResponse:  # noqa: N802
        """List instances, ordered by name, then id."""
        checks = Checks()
        wanted = translate_fleet.filter_selector(request.selector if request.HasField("selector") else None, checks)
        checks.done()
        size = paging.page_size(request.page_size)
        after = paging.read_token(request, request.page_token, (str, str))
        found = await self._selecting.matching(wanted, retired=True)
        if request.selectable_only or request.not_selectable_only:
            refused = {i.id for i in found if why_not(i, self._sessions.presence(i)) is not None or i.retired_at}
            left_out = (request.selectable_only, request.not_selectable_only)
            found = tuple(i for i in found if not left_out[i.id not in refused])
        rest = [i for i in found if after is None or (i.name, i.id) > after]
        page = rest[:size]
        return pb.ListInstancesResponse(
            instances=await self._messages(page),
            next_page_token=paging.make_token(request, (page[-1].name, page[-1].id)) if len(rest) > size else "",
            total_size=len(found),
        )

    async def GetInstance(self, request: pb.GetInstanceRequest, context: Context) -> pb.GetInstanceResponse:  # noqa: N802
        """One instance."""
        found = await self._find(request.instance, granted_too=True)
        return pb.GetInstanceResponse(instance=(await self._messages([found]))[0])

    async def UpdateInstance(self, request: pb.UpdateInstanceRequest, context: Context) -> pb.UpdateInstanceResponse:  # noqa: N802
        """Change the fields of an instance that the mask names."""
        found = find_instance(await self._store.instances(), "instance", request.instance)
        changed = await self._store.change_instance(found.id, lambda now: translate_fleet.edit(now, request))
        log.info(
            "instance changed by an operator",
            extra={"instance": changed.id, "by": operator().name, "fields": ",".join(request.update_mask.paths)},
        )
        self._hub.publish("instances")
        return pb.UpdateInstanceResponse(instance=(await self._messages([changed]))[0])

    async def DeleteInstance(self, request: pb.DeleteInstanceRequest, context: Context) -> pb.DeleteInstanceResponse:  # noqa: N802
        """Forget an instance: its stream ends, and its agent is refused from now on."""
        found = await self._find(request.instance)
        at = self._clock.now()
        await self._shut_out(await self._store.change_instance(found.id, lambda now: replace(now, deleted_at=at)))
        log.info("instance deleted", extra={"instance": found.id, "agent": found.name, "by": operator().name})
        self._hub.publish("instances")
        return pb.DeleteInstanceResponse()

    async def RetireInstance(self, request: pb.RetireInstanceRequest, context: Context) -> pb.RetireInstanceResponse:  # noqa: N802
        """Take an instance out of the fleet: its agent is refused, it counts nowhere, its history stays."""
        found = await self._find(request.instance)
        by, at = operator().name, self._clock.now()
        retired = await self._store.change_instance(found.id, lambda now: lifecycle.retired(now, by, at))
        await self._shut_out(retired)
        log.info("instance retired", extra={"instance": found.id, "agent": found.name, "by": by})
        self._hub.publish("instances")
        return pb.RetireInstanceResponse(instance=(await self._messages([retired]))[0])

    async def RestoreInstance(self, request: pb.RestoreInstanceRequest, context: Context) -> pb.RestoreInstanceResponse:  # noqa: N802
        """Take a retired instance back."""
        found = await self._find(request.instance)
        restored = await self._store.change_instance(found.id, lifecycle.restored)
        self._sessions.barred.note((restored,))
        log.info("instance restored", extra={"instance": found.id, "agent": found.name, "by": operator().name})
        self._hub.publish("instances")
        return pb.RestoreInstanceResponse(instance=(await self._messages([restored]))[0])

    async def ReleaseInstance(self, request: pb.ReleaseInstanceRequest, context: Context) -> pb.ReleaseInstanceResponse:  # noqa: N802
        """End an instance's quarantine; what was seen of it before is forgotten, so that it begins anew."""
        found = await self._find(request.instance)
        by, at = operator().name, self._clock.now()
        released = await self._store.change_instance(found.id, lambda now: lifecycle.released(now, by, at))
        self._sessions.barred.note((released,))
        await self._clones.forget([found.id])
        log.info("instance released from quarantine", extra={"instance": found.id, "agent": found.name, "by": by})
        self._hub.publish("instances")
        return pb.ReleaseInstanceResponse(instance=(await self._messages([released]))[0])

    async def MergeInstance(self, request: pb.MergeInstanceRequest, context: Context) -> pb.MergeInstanceResponse:  # noqa: N802
        """Let one instance take over what people said about another, which is retired: both were one host."""
        old = await self._find(request.instance)
        kept = find_instance(await self._store.instances(), "into", request.into)
        by, at = operator().name, self._clock.now()

        def merged(fleet: tuple[Instance, ...]) -> Iterable[Instance]:
            there = {i.id: i for i in fleet}
            if kept.id not in there or old.id not in there:
                raise Rejected("one of the two was deleted meanwhile; look again: patchctl instances list")
            yield lifecycle.merged(there[kept.id], there[old.id])
            yield lifecycle.retired(there[old.id], by, at, kept.id)

        lifecycle.merged(kept, old)  # refuses what cannot be one host
        held, excused = await self._baselines.assignments(), await self._baselines.exceptions()
        assignments = tuple(moved_assignments(held, old.id, kept.id, at, by))
        exceptions = tuple(moved_exceptions(excused, old.id, kept.id, at, lambda: self._ids.new("X-", 8)))
        if (assignments or exceptions) and operator().role is not Role.ADMIN:
            raise PermissionDenied(
                f"{old.name} has a baseline or exceptions of its own, which would go over to {kept.name}: that is for an ADMIN"
                f" to decide; ask an admin of the account {operator().account} to merge them"
            )
        made, gone = await self._store.rewrite(merged)
        await self._shut_out(gone)
        for assignment in assignments:
            await self._baselines.put_assignment(assignment)
        for exception in exceptions:
            await self._baselines.put_exception(exception)
        await self._assessor.refresh_all()
        log.info("instance merged", extra={"instance": gone.id, "into": made.id, "by": by})
        self._hub.publish("instances")
        return pb.MergeInstanceResponse(instance=(await self._messages([made]))[0])

    async def PreviewCmdbImport(  # noqa: N802
        self, request: pb.PreviewCmdbImportRequest, context: Context
    ) -> AsyncIterator[pb.PreviewCmdbImportResponse]:
        """What importing a CMDB file would change."""
        whole_account("an import from the CMDB")
        for message in await self._cmdb.preview(request.file):
            yield message

    async def ImportCmdb(self, request: pb.ImportCmdbRequest, context: Context) -> pb.ImportCmdbResponse:  # noqa: N802
        """Import a CMDB file, exactly as its preview has shown."""
        whole_account("an import from the CMDB")
        summary, wrote = await self._cmdb.apply(request.file, request.digest)
        log.info(
            "CMDB imported",
            extra={"by": operator().name, "created": summary.created, "changed": summary.changed, "gone": summary.gone},
        )
        if wrote:
            self._hub.publish("instances")
        return pb.ImportCmdbResponse(summary=summary)

    async def _shut_out(self, instance: Instance) -> None:
        """End an instance's stream; its agent is refused from now on, and no ticket sends it anything."""
        self._sessions.barred.note((instance,))
        if (session := self._sessions.get(instance.id)) is not None:
            session.closed.set()
        await self._clones.forget([instance.id])

    async def CreateEnrolmentToken(  # noqa: N802
        self, request: pb.CreateEnrolmentTokenRequest, context: Context
    ) -> pb.CreateEnrolmentTokenResponse:
        """Make a one-time token; its secret is in this answer and nowhere else."""
        checks = Checks()
        lifetime = request.lifetime if request.HasField("lifetime") else None
        life = read_duration(checks, "lifetime", lifetime, _TOKEN_LIFE, _SHORTEST_TOKEN_LIFE, _LONGEST_TOKEN_LIFE)
        note = checks.text("note", request.note, _MAX_NOTE)
        placement = translate_fleet.placement(request.placement, checks)
        checks.done()
        secret, now = new_secret(ENROLMENT_PREFIX), self._clock.now()
        token = EnrolmentToken(
            id=self._ids.new("E-", 8),
            secret_hash=digest.of(secret.encode()),
            note=note,
            placement=placement,
            created_by=operator().name,
            created_at=now,
            expires_at=now + life,
            account=operator().account,
        )
        await self._store.put_enrolment_token(token)
        log.info("enrolment token made", extra={"token": token.id, "by": token.created_by})
        return pb.CreateEnrolmentTokenResponse(secret=secret, token=translate_fleet.enrolment_token_message(token))

    async def ListEnrolmentTokens(  # noqa: N802
        self, request: pb.ListEnrolmentTokensRequest, context: Context
    ) -> pb.ListEnrolmentTokensResponse:
        """List enrolment tokens, newest first, without their secrets."""
        size = paging.page_size(request.page_size)
        position = paging.read_token(request, request.page_token, (str, str))
        before = None if position is None else (paging.decode_time(position[0]), str(position[1]))
        found = await self._store.enrolment_tokens(size + 1, before)
        page, more = found[:size], len(found) > size
        return pb.ListEnrolmentTokensResponse(
            tokens=[translate_fleet.enrolment_token_message(t) for t in page],
            next_page_token=(
                paging.make_token(request, (paging.encode_time(page[-1].created_at), page[-1].id)) if more else ""
            ),
        )

    async def RevokeEnrolmentToken(  # noqa: N802
        self, request: pb.RevokeEnrolmentTokenRequest, context: Context
    ) -> pb.RevokeEnrolmentTokenResponse:
        """Make an unused token worthless; one that is revoked already stays so."""
        called = reference("id", request.id)
        try:
            token = await self._store.get_enrolment_token(called)
        except NotFound:
            raise NotFound("enrolment token", called, "list them: patchctl enrolment list") from None
        if token.used_by is not None:
            raise Rejected(
                f"the enrolment token {token.id} was used by {token.used_by}; to shut that host out, delete the instance"
            )
        if token.revoked_at is None:
            token = replace(token, revoked_at=self._clock.now())
            await self._store.put_enrolment_token(token)
            log.info("enrolment token revoked", extra={"token": token.id, "by": operator().name})
        return pb.RevokeEnrolmentTokenResponse(token=translate_fleet.enrolment_token_message(token))

    async def _find(self, called: str, *, granted_too: bool = False) -> Instance:
        """Return the instance with this id or name, a retired one if no other has it; one that an agency shows too if that is enough."""
        try:
            if granted_too:
                return await self._store.find("instance", called)
            return find_instance(await self._store.instances(), "instance", called)
        except NotFound:
            return find_instance(await self._store.retired_instances(), "instance", called)

    async def _messages(self, instances: Iterable[Instance]) -> list[pb.Instance]:
        made = list[pb.Instance]()
        for instance in instances:
            presence = self._sessions.presence(instance)
            now, answer = self._clock.now(), await self._assessor.assessment(instance)
            reason = why_not(instance, presence, now)
            made.append(
                translate_fleet.instance_message(
                    instance,
                    presence,
                    answer,
                    (reason.reason, f"{reason.explanation}; {reason.help}") if reason is not None else None,
                    lifecycle.of(instance, presence, answer.collected_at, now, self._selecting.stale_after),
                )
            )
        return made
