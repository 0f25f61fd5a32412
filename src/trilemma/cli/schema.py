"""`trilemma schema`: the study's JSON schema."""

import json

import typer


def schema() -> None:
    """Print the study's JSON schema, for editors."""
    from trilemma import study

    typer.echo(json.dumps(study.schema(), indent=2))
