"""The calls about instances and enrolment tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Final

from google.protobuf.field_mask_pb2 import FieldMask

from common.pb.v1 import agent_pb2, fleet_pb2, fleet_pb2_grpc, types_pb2
from controller.client.line import Line
from controller.client.specs import duration_of

_IMPORT_SECONDS: Final = 300.0


class FleetCalls:
    """FleetService."""

    def __init__(self, line: Line) -> None:
        """Use this connection."""
        self._fleet_line = line
        self._fleet = fleet_pb2_grpc.FleetServiceStub(line.channel)

    def list_instances(
        self,
        selector: fleet_pb2.Selector | None = None,
        *,
        selectable_only: bool = False,
        not_selectable_only: bool = False,
        page_size: int = 0,
    ) -> Iterator[fleet_pb2.Instance]:
        """Yield the instances that match, all without a selector, by name; only those that a ticket can take, or only the others."""
        request = fleet_pb2.ListInstancesRequest(
            selector=selector,
            selectable_only=selectable_only,
            not_selectable_only=not_selectable_only,
            page_size=page_size,
        )
        return self._fleet_line.rows(self._fleet.ListInstances, request, lambda page: page.instances)

    def count_instances(self, selector: fleet_pb2.Selector | None = None, *, selectable_only: bool = False) -> int:
        """Return how many instances match."""
        request = fleet_pb2.ListInstancesRequest(selector=selector, selectable_only=selectable_only, page_size=1)
        return self._fleet_line.ask(self._fleet.ListInstances, request).total_size

    def get_instance(self, instance: str) -> fleet_pb2.Instance:
        """Return one instance, by id or name."""
        return self._fleet_line.ask(self._fleet.GetInstance, fleet_pb2.GetInstanceRequest(instance=instance)).instance

    def update_instance(
        self,
        instance: str,
        *,
        name: str | None = None,
        enterprise_project: str | None = None,
        region: str | None = None,
        zone: str | None = None,
        resource_type: types_pb2.ResourceType.ValueType | None = None,
        application_group: str | None = None,
        cluster: str | None = None,
        tags: Mapping[str, str] | None = None,
        stopped: bool | None = None,
    ) -> fleet_pb2.Instance:
        """Change what is given and nothing else; `tags` replaces them all. Return the instance as it is now."""
        values = fleet_pb2.Instance(
            name=name or "",
            enterprise_project=enterprise_project or "",
            region=region or "",
            zone=zone or "",
            resource_type=resource_type or types_pb2.RESOURCE_TYPE_UNSPECIFIED,
            application_group=application_group or "",
            cluster=cluster or "",
            tags=tags,
            stopped=bool(stopped),
        )
        given = {
            "name": name,
            "enterprise_project": enterprise_project,
            "region": region,
            "zone": zone,
            "resource_type": resource_type,
            "application_group": application_group,
            "cluster": cluster,
            "tags": tags,
            "stopped": stopped,
        }
        mask = FieldMask(paths=[field for field, value in given.items() if value is not None])
        request = fleet_pb2.UpdateInstanceRequest(instance=instance, values=values, update_mask=mask)
        return self._fleet_line.ask(self._fleet.UpdateInstance, request).instance

    def tag_instance(
        self, instance: str, add: Mapping[str, str] | None = None, remove: Sequence[str] = ()
    ) -> fleet_pb2.Instance:
        """Add and remove tags, leaving the others as they are. Return the instance as it is now."""
        present = self.get_instance(instance)
        tags = {key: value for key, value in present.tags.items() if key not in remove} | dict(add or {})
        return self.update_instance(present.id, tags=tags)

    def delete_instance(self, instance: str) -> None:
        """Forget an instance and refuse its agent from now on."""
        self._fleet_line.ask(self._fleet.DeleteInstance, fleet_pb2.DeleteInstanceRequest(instance=instance))

    def retire_instance(self, instance: str) -> fleet_pb2.Instance:
        """Take an instance out of the fleet; return it as it is now."""
        request = fleet_pb2.RetireInstanceRequest(instance=instance)
        return self._fleet_line.ask(self._fleet.RetireInstance, request).instance

    def restore_instance(self, instance: str) -> fleet_pb2.Instance:
        """Take a retired instance back; return it as it is now."""
        request = fleet_pb2.RestoreInstanceRequest(instance=instance)
        return self._fleet_line.ask(self._fleet.RestoreInstance, request).instance

    def release_instance(self, instance: str) -> fleet_pb2.Instance:
        """End an instance's quarantine; return it as it is now."""
        request = fleet_pb2.ReleaseInstanceRequest(instance=instance)
        return self._fleet_line.ask(self._fleet.ReleaseInstance, request).instance

    def merge_instance(self, instance: str, into: str) -> fleet_pb2.Instance:
        """Retire an instance and let another take over what people said about it; return that one as it is now."""
        request = fleet_pb2.MergeInstanceRequest(instance=instance, into=into)
        return self._fleet_line.ask(self._fleet.MergeInstance, request).instance

    def preview_cmdb_import(self, file: fleet_pb2.CmdbFile) -> Iterator[fleet_pb2.PreviewCmdbImportResponse]:
        """Yield what importing a CMDB file would change: first the summary, then the problems and the changes."""
        request = fleet_pb2.PreviewCmdbImportRequest(file=file)
        return self._fleet_line.stream(self._fleet.PreviewCmdbImport, request, _IMPORT_SECONDS)

    def import_cmdb(self, file: fleet_pb2.CmdbFile, digest: str) -> fleet_pb2.CmdbImportSummary:
        """Import a CMDB file exactly as the preview with this digest has shown."""
        request = fleet_pb2.ImportCmdbRequest(file=file, digest=digest)
        return self._fleet_line.ask(self._fleet.ImportCmdb, request, _IMPORT_SECONDS).summary

    def create_enrolment_token(
        self, *, note: str = "", placement: agent_pb2.Placement | None = None, lifetime: timedelta | None = None
    ) -> fleet_pb2.CreateEnrolmentTokenResponse:
        """Make a one-time token with which one host may enrol. The answer's secret is never shown again."""
        request = fleet_pb2.CreateEnrolmentTokenRequest(
            note=note, placement=placement, lifetime=None if lifetime is None else duration_of(lifetime)
        )
        return self._fleet_line.ask(self._fleet.CreateEnrolmentToken, request)

    def list_enrolment_tokens(self, *, page_size: int = 0) -> Iterator[fleet_pb2.EnrolmentToken]:
        """Yield the enrolment tokens, newest first, without their secrets."""
        request = fleet_pb2.ListEnrolmentTokensRequest(page_size=page_size)
        return self._fleet_line.rows(self._fleet.ListEnrolmentTokens, request, lambda page: page.tokens)

    def revoke_enrolment_token(self, token_id: str) -> fleet_pb2.EnrolmentToken:
        """Make an unused token worthless."""
        request = fleet_pb2.RevokeEnrolmentTokenRequest(id=token_id)
        return self._fleet_line.ask(self._fleet.RevokeEnrolmentToken, request).token
