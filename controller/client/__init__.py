"""The typed Python client of the controller, for programs and for patchctl.

Calls take keyword arguments and return the API's own messages (`common.pb.v1`), whose fields are typed and described in
`proto/`. Lists are iterators that fetch page after page. Every call has a deadline. What the controller refuses is raised
as an error of `common.errors`: act on its class, show its `str()`.

A scan, from start to report (a test runs this example as it stands here):

    from pathlib import Path

    from common.pb.v1 import fleet_pb2, types_pb2
    from controller.client import connect, scan_of

    def scan_web(address: str, join: Path, token: str, region: str) -> list[str]:
        web = fleet_pb2.Selector(all=True, regions=[region], application_groups=["web"])
        with connect(address, join, token) as client:
            spec = scan_of(web, success_rate="99.5", batch_size=5)
            print("stops at failed instance", client.preview(spec).stops_at)
            made = client.create_ticket(spec, request_id=f"nightly-{region}")
            for change in client.watch(made.ticket.id):
                print(change.ticket.counts.succeeded, "succeeded")
            return [
                f"{report.instance_name} {item.name} {item.required}"
                for report in client.export_reports(web)
                for item in report.items
                if item.status == types_pb2.PATCH_STATUS_MISSING
            ]
"""

from __future__ import annotations

from controller.client.connection import Client, connect
from controller.client.line import DEFAULT_TIMEOUT_SECONDS
from controller.client.specs import scan_of, tenths_of
from controller.client.watching import ENDED, Patience

__all__ = ["DEFAULT_TIMEOUT_SECONDS", "ENDED", "Client", "Patience", "connect", "scan_of", "tenths_of"]
