"""The calls about the caller, accounts, users, operators' tokens and agencies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from google.protobuf.field_mask_pb2 import FieldMask

from common.pb.v1 import account_pb2 as pb
from common.pb.v1 import account_pb2_grpc
from controller.client.line import Line
from controller.client.specs import duration_of


class AccountCalls:
    """AccountService."""

    def __init__(self, line: Line) -> None:
        """Use this connection."""
        self._account_line = line
        self._account = account_pb2_grpc.AccountServiceStub(line.channel)

    def whoami(self) -> pb.WhoAmIResponse:
        """Return whom the controller takes the caller for."""
        return self._account_line.ask(self._account.WhoAmI, pb.WhoAmIRequest())

    def create_account(self, name: str, admin: str, *, note: str = "") -> pb.CreateAccountResponse:
        """Make an account and its first admin. The answer's secret is never shown again."""
        request = pb.CreateAccountRequest(account=pb.Account(name=name, note=note), admin=admin)
        return self._account_line.ask(self._account.CreateAccount, request)

    def list_accounts(self, *, page_size: int = 0) -> Iterator[pb.Account]:
        """Yield the accounts that the caller may know of, by name."""
        request = pb.ListAccountsRequest(page_size=page_size)
        return self._account_line.rows(self._account.ListAccounts, request, lambda page: page.accounts)

    def create_user(
        self,
        name: str,
        role: pb.Role.ValueType,
        *,
        enterprise_projects: Sequence[str] = (),
        lifetime: timedelta | None = None,
    ) -> pb.CreateUserResponse:
        """Make a user with a first token. The answer's secret is never shown again."""
        request = pb.CreateUserRequest(
            user=pb.User(name=name, role=role, enterprise_projects=enterprise_projects),
            lifetime=None if lifetime is None else duration_of(lifetime),
        )
        return self._account_line.ask(self._account.CreateUser, request)

    def update_user(
        self,
        name: str,
        *,
        role: pb.Role.ValueType | None = None,
        enterprise_projects: Sequence[str] | None = None,
        disabled: bool | None = None,
    ) -> pb.User:
        """Change what is given and nothing else; return the user as it is now."""
        given = {"enterprise_projects": enterprise_projects, "disabled": disabled}
        request = pb.UpdateUserRequest(
            name=name,
            role=role or pb.ROLE_UNSPECIFIED,
            update_mask=FieldMask(paths=[field for field, value in given.items() if value is not None]),
            enterprise_projects=enterprise_projects or (),
            disabled=bool(disabled),
        )
        return self._account_line.ask(self._account.UpdateUser, request).user

    def list_users(self, *, page_size: int = 0) -> Iterator[pb.User]:
        """Yield the users of the caller's account, by name."""
        request = pb.ListUsersRequest(page_size=page_size)
        return self._account_line.rows(self._account.ListUsers, request, lambda page: page.users)

    def create_operator_token(
        self,
        *,
        user: str = "",
        role: pb.Role.ValueType | None = None,
        lifetime: timedelta | None = None,
        note: str = "",
    ) -> pb.CreateOperatorTokenResponse:
        """Make a token, the caller's own without a user. The answer's secret is never shown again."""
        request = pb.CreateOperatorTokenRequest(
            user=user,
            role=role or pb.ROLE_UNSPECIFIED,
            lifetime=None if lifetime is None else duration_of(lifetime),
            note=note,
        )
        return self._account_line.ask(self._account.CreateOperatorToken, request)

    def list_operator_tokens(self, *, user: str = "", page_size: int = 0) -> Iterator[pb.OperatorToken]:
        """Yield operators' tokens, newest first, without their secrets."""
        request = pb.ListOperatorTokensRequest(user=user, page_size=page_size)
        return self._account_line.rows(self._account.ListOperatorTokens, request, lambda page: page.tokens)

    def revoke_operator_token(self, token_id: str) -> pb.OperatorToken:
        """Make an operator's token worthless at once."""
        request = pb.RevokeOperatorTokenRequest(id=token_id)
        return self._account_line.ask(self._account.RevokeOperatorToken, request).token

    def create_agency(
        self,
        name: str,
        trusted_account: str,
        permission: pb.AgencyPermission.ValueType,
        *,
        expires_at: datetime | None = None,
    ) -> pb.Agency:
        """Let another account act on instances of the caller's."""
        agency = pb.Agency(name=name, trusted_account=trusted_account, permission=permission)
        if expires_at is not None:
            agency.expires_at.FromDatetime(expires_at.astimezone(UTC))
        return self._account_line.ask(self._account.CreateAgency, pb.CreateAgencyRequest(agency=agency)).agency

    def list_agencies(self, *, include_ended: bool = False, page_size: int = 0) -> Iterator[pb.Agency]:
        """Yield the agencies that the caller's account grants or was granted, by account, then by name."""
        request = pb.ListAgenciesRequest(include_ended=include_ended, page_size=page_size)
        return self._account_line.rows(self._account.ListAgencies, request, lambda page: page.agencies)

    def revoke_agency(self, name: str) -> pb.Agency:
        """End an agency of the caller's account at once."""
        return self._account_line.ask(self._account.RevokeAgency, pb.RevokeAgencyRequest(name=name)).agency
