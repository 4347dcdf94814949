"""AccountService: who is asking."""

from __future__ import annotations

from common import VERSION
from common.pb.v1 import account_pb2, account_pb2_grpc
from controller.api.auth import operator
from controller.api.interception import Context
from controller.api.translate import ROLE, timestamp


class AccountService(account_pb2_grpc.AccountServiceServicer):
    """Serves operators' questions about themselves."""

    async def WhoAmI(self, request: account_pb2.WhoAmIRequest, context: Context) -> account_pb2.WhoAmIResponse:  # noqa: N802
        """Say whom the controller takes the caller for."""
        caller = operator()
        return account_pb2.WhoAmIResponse(
            name=caller.name,
            role=ROLE.to_wire(caller.role),
            expires_at=timestamp(caller.expires_at),
            controller_version=VERSION,
            account=caller.account,
            enterprise_projects=caller.enterprise_projects,
        )
