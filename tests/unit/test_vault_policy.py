"""Policies as text, and what the platform's own may not do."""

from __future__ import annotations

from fnmatch import fnmatchcase

from unterbau.domain.vault_policy import DEPLOY, PathRule, normalised, render


def test_equal_declarations_give_one_text() -> None:
    one = render({"b": ("list", "read"), "a": ("create",)})
    assert one == render({"a": ["create"], "b": ["read", "list"]})
    assert one == 'path "a" {\n  capabilities = ["create"]\n}\n\npath "b" {\n  capabilities = ["read", "list"]\n}\n'


def test_limits_of_a_path() -> None:
    rule = PathRule(("update",), parameters=("b", "a"), wrapped_s=(1, 60))
    assert render({"p": rule}).splitlines()[2:5] == [
        '  allowed_parameters = { "a" = [], "b" = [] }',
        '  min_wrapping_ttl = "1s"',
        '  max_wrapping_ttl = "60s"',
    ]


def test_text_is_compared_without_blank_lines_and_trailing_spaces() -> None:
    assert normalised('\npath "a" {  \n\n}\n') == normalised('path "a" {\n}')
    assert normalised('path "a" {\n}') != normalised('path "b" {\n}')


def allowed(path: str) -> set[str]:
    """What any rule gives for a path; wider than the server, which takes the most specific one."""
    found: set[str] = set()
    for pattern, rule in DEPLOY.items():
        if fnmatchcase(path, pattern.replace("+", "*")):
            found |= set(rule.capabilities if isinstance(rule, PathRule) else rule)
    return found


def test_deploys_write_values_and_read_none() -> None:
    assert allowed("kv/data/demo/api") == {"create", "update"}
    for path in (
        "database/creds/demo",
        "database/static-creds/demo",
        "sys/raw/x",
        "sys/seal",
        "sys/generate-root/attempt",
    ):
        assert allowed(path) == set(), path


def test_secret_ids_come_wrapped_and_the_login_s_role_takes_certificates_only() -> None:
    secret_id, role = DEPLOY["auth/approle/role/+/secret-id"], DEPLOY["auth/deploy/certs/deploy"]
    assert isinstance(secret_id, PathRule)
    assert secret_id.wrapped_s
    assert isinstance(role, PathRule)
    assert role.parameters == ("certificate",)


def test_marks_hold_no_values() -> None:
    assert DEPLOY["unterbau/data/*"] == ("deny",)  # more specific than "+/data/*", so it wins
    assert "delete" in allowed("unterbau/metadata/policy/demo")
