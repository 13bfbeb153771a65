"""Command group ``retalkit credentials``: signing credentials, and verification of Content Credentials."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from retalkit.provenance.keys import Credentials
    from retalkit.provenance.verification import Ingredient, Verification

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

NOT_VALID: Final = 3
"""Exit code of ``verify`` for a file that was changed after it was signed, or whose credentials are invalid."""
NO_CREDENTIALS: Final = 4
"""Exit code of ``verify`` for a file without Content Credentials."""
NOT_TRUSTED: Final = 5
"""Exit code of ``verify --require-trusted`` for a file whose signer is unknown."""
_MAX_RANGES: Final = 6
_MAX_NAME: Final = 64
"""Maximum length of a name in a certificate (RFC 5280, appendix A.1)."""


def application() -> typer.Typer:
    """Return the command group ``credentials``."""
    app = typer.Typer(
        help="Manage signing credentials, and verify the Content Credentials (C2PA) of files.", rich_markup_mode=None
    )
    app.callback(invoke_without_command=True)(_group)
    app.command("init")(init)
    app.command("import")(import_)
    app.command("show")(show)
    app.command("verify")(verify)
    return app


def _group(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def init(
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the signer in the certificate, such as a company.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace existing credentials.")] = False,
    as_json: AsJson = False,
) -> None:
    """Create a local root certificate and a signing certificate. The first run creates both automatically."""
    from retalkit.errors import ConfigError
    from retalkit.provenance.keys import create_local

    if name is not None and not (0 < len(name) <= _MAX_NAME and name.isprintable()):
        raise ConfigError(
            f"--name: expected 1 to {_MAX_NAME} printable characters, got {len(name)} characters", code="invalid-option"
        )
    _print(create_local(name, force=force), as_json)


def import_(
    certificate: Annotated[
        Path, typer.Argument(metavar="CERT", help="Certificate chain (PEM), the signer's certificate first.")
    ],
    key: Annotated[Path, typer.Argument(metavar="KEY", help="Unencrypted private key (PEM) of the certificate.")],
    time_stamp_authority: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="RFC 3161 time-stamp authority. Every signature contacts the authority over the network.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace existing credentials.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check a certificate with its private key and use it for all signatures. The files are copied."""
    from retalkit.errors import ConfigError
    from retalkit.provenance.keys import import_credentials

    if time_stamp_authority is not None and not time_stamp_authority.startswith(("http://", "https://")):
        raise ConfigError(
            f"--time-stamp-authority: expected a URL such as https://HOST/PATH, got '{time_stamp_authority}'",
            code="invalid-option",
        )
    _print(import_credentials(certificate, key, time_stamp_authority=time_stamp_authority, force=force), as_json)


def show(
    pem: Annotated[
        bool, typer.Option("--pem", help="Print the certificates as PEM, for the trust list of others.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show the signing certificate. The private key is never printed."""
    from retalkit.errors import CredentialsError
    from retalkit.provenance.keys import credentials_file, load_credentials

    credentials = load_credentials()
    if credentials is None:
        raise CredentialsError(
            f"{credentials_file()}: there are no credentials; the next run creates local ones, or create them with "
            "`retalkit credentials init`",
            code="no-credentials",
        )
    if pem:
        typer.echo(credentials.chain_pem, nl=False)
        return
    _print(credentials, as_json)


def verify(
    file: Annotated[Path, typer.Argument(help="Video, image or audio file.", show_default=False)],
    trust: Annotated[
        list[Path] | None,
        typer.Option(metavar="PEM", help="Trust the certificate authorities in this file; may be repeated."),
    ] = None,
    require_trusted: Annotated[
        bool, typer.Option("--require-trusted", help="Fail if the signer's certificate has no trusted issuer.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Verify the Content Credentials of FILE without network access.

    Exit codes: 0 trusted or valid, 3 tampered or invalid, 4 no credentials, 5 not trusted (with --require-trusted).
    """
    from retalkit.provenance.verification import State
    from retalkit.provenance.verification import verify as verify_file

    result = verify_file(file, trust=trust or [])
    typer.echo(json.dumps(result.as_dict(), indent=2, ensure_ascii=False) if as_json else _report(result))
    if result.state == State.NONE:
        raise typer.Exit(NO_CREDENTIALS)
    if not result.ok:
        raise typer.Exit(NOT_VALID)
    if require_trusted and result.state != State.TRUSTED:
        raise typer.Exit(NOT_TRUSTED)


def _print(credentials: Credentials, as_json: bool) -> None:
    facts: dict[str, Any] = {
        "file": str(credentials.file),
        "origin": credentials.origin,
        "signer": credentials.name,
        "issuer": credentials.issuer,
        "algorithm": credentials.algorithm,
        "valid_until": f"{credentials.valid_until:%Y-%m-%d}",
        "certificate_sha256": credentials.fingerprint,
        "time_stamp_authority": credentials.time_stamp_authority,
    }
    if as_json:
        typer.echo(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    titles = {"certificate_sha256": "SHA-256", "time_stamp_authority": "time stamps", "valid_until": "valid until"}
    for name, value in facts.items():
        typer.echo(f"{titles.get(name, name):<12} {'none' if value is None else value}")


_MEANINGS: Final = {
    "trusted": "unchanged since it was signed, by your own local credentials or by a signer with a trusted issuer",
    "valid": "unchanged since it was signed; the signer's certificate has no trusted issuer",
    "tampered": "changed after it was signed",
    "invalid": "the credentials are not acceptable",
    "none": "the file has no Content Credentials",
}


def _report(result: Verification) -> str:
    lines = [f"state       {result.state.value}: {_MEANINGS[result.state.value]}"]
    if result.problems:
        lines.append(f"problems    {', '.join(result.problems)}")
    if result.sidecar is not None:
        lines.append(f"manifest    {result.sidecar}")
    if result.signer:
        when = f", time stamp {result.signed_at}" if result.signed_at else ", without a time stamp"
        lines.append(f"signer      {result.signer}{when}")
    if result.generator:
        lines.append(f"software    {result.generator}")
    for action in result.actions:
        lines.append(f"action      {_action(action)}")
    lines += _ingredient_lines(result.ingredients, 0)
    # Control characters in the texts of a manifest could imitate lines of the report.
    return "\n".join("".join(each if each.isprintable() else "\ufffd" for each in line) for line in lines)


def _action(action: Any) -> str:
    text = str(action.get("action", "")).removeprefix("c2pa.")
    if source := str(action.get("digitalSourceType", "")).rpartition("/")[2]:
        text += f" ({source})"
    if description := action.get("description"):
        text += f": {description}"
    several = len({str(change.get("description")) for change in action.get("changes") or []}) > 1
    ranges = [
        f"{_time(time['start'])}-{_time(time['end'])} s{_person(change, several)}"
        for change in action.get("changes") or []
        for region in change.get("region") or []
        if (time := region.get("time") or {}).get("start") and time.get("end")
    ]
    if ranges:
        more = f" and {len(ranges) - _MAX_RANGES} more" if len(ranges) > _MAX_RANGES else ""
        text += f" [{', '.join(ranges[:_MAX_RANGES])}{more}]"
    return text


def _person(change: Any, several: bool) -> str:
    """Return whose lips a change edited, if the action edited several people."""
    return f" ({change['description']})" if several and change.get("description") else ""


def _time(value: Any) -> str:
    """Return a time with two decimals, or unchanged if another program wrote it in another notation."""
    try:
        return f"{float(value):.2f}"
    except (TypeError, ValueError):
        return str(value)


def _ingredient_lines(ingredients: Iterable[Ingredient], depth: int) -> Iterator[str]:
    for each in ingredients:
        role = {"parentOf": "original", "componentOf": "component"}.get(each.relationship, each.relationship)
        signed = f", signed by {each.signer}" if each.signer else ", without credentials"
        problems = f" (problems: {', '.join(each.problems)})" if each.problems else ""
        yield f"{'made from' if not depth else '':<11} {'  ' * depth}{role} {each.title}{signed}{problems}"
        yield from _ingredient_lines(each.ingredients, depth + 1)
