"""`yardmaster spec`: lints the parts, writes the bundle, and checks that the committed one is fresh."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from app.spec import join
from app.spec.bridge import check as openapi_errors
from app.spec.lint import lint as findings


@click.group()
def spec() -> None:
    """Work on the OpenAPI document."""


def _bundle_path() -> Path:
    return join.parts() / join.BUNDLE


@spec.command()
def bundle() -> None:
    """Join the parts into openapi/openapi.yaml."""
    path = _bundle_path()
    path.write_text(join.dump(join.join()), encoding="utf-8")
    click.echo(f"wrote {path}")


@spec.command()
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def lint(as_json: bool) -> None:
    """Hold the hand-written parts against the rules under openapi/rules."""
    found = findings()
    if as_json:
        click.echo(json.dumps([finding.as_json() for finding in found], indent=1))
    else:
        for finding in found:
            click.echo(str(finding), err=True)
        click.echo(f"{len(found)} finding(s)")
    sys.exit(1 if found else 0)


@spec.command()
def check() -> None:
    """Tell whether the document is valid OpenAPI 3.1 and the committed bundle is what the parts say."""
    document = join.join()
    errors = openapi_errors(document)
    path = _bundle_path()
    if not path.exists() or path.read_text(encoding="utf-8") != join.dump(document):
        errors.append(f"{path.name} is stale; run: yardmaster spec bundle")
    for error in errors:
        click.echo(error, err=True)
    click.echo("the document is valid and the bundle fresh" if not errors else f"{len(errors)} error(s)")
    sys.exit(1 if errors else 0)
