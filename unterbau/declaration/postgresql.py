"""PostgreSQL servers: the nodes of the group `postgresql`."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from unterbau.declaration.base import Declaration, made_of
from unterbau.declaration.fields import Many, Port, different
from unterbau.declaration.secret import Ref
from unterbau.declaration.vault import Identifier


class PostgresqlLogin(Declaration):
    """A user that logs in with a password of the store."""

    name: Identifier = Field(description="unique")
    password: Ref = Field(description="SecretRef to its password")
    create_roles: bool = Field(False, description="True for the user of OpenBao's database engine")


Login = Annotated[PostgresqlLogin, made_of(PostgresqlLogin)]


class PostgresqlServer(Declaration):
    """One PostgreSQL server: Debian's version, TLS from the internal root, passwords as SCRAM-SHA-256."""

    port: Port = Field(5432, description="where it listens")
    logins: Many[Login] = Field((), description="PostgresqlLogin(…), …")
    databases: Annotated[Many[Identifier], AfterValidator(different)] = Field((), description="names of databases")
    static_users: Annotated[Many[Identifier], AfterValidator(different)] = Field(
        (), description="users that log in with a password of OpenBao's static roles"
    )
