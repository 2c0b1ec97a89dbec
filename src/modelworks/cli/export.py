"""Commands that write a model for use elsewhere: as an image, for Kubernetes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from modelworks.cli.door import Door
from modelworks.console import terminal as show

export = typer.Typer(help="A model as an image, or for Kubernetes and KServe.", no_args_is_help=True)

Ref = Annotated[str, typer.Argument(help="delay with all its champions, or one: delay@3, 'delay[UA,EWR]@3'.")]
Out = Annotated[Path, typer.Option(help="The folder to write.")]
Port = Annotated[int, typer.Option(help="Port that the server listens on.", min=1, max=65535)]


def register(app: typer.Typer) -> None:
    """Put the commands into the application."""
    app.add_typer(export, name="export")


@export.command("docker")
def docker(context: typer.Context, ref: Ref, out: Out, port: Port = 8000) -> None:
    """What an image needs that serves a model: Dockerfile, lock, model, code, health check."""
    door: Door = context.obj
    with door.factory() as factory:
        told = factory.export_docker(ref, out, port)
    _said(
        door, told, [f"docker build -t {_image(told)} {out}", f"docker run -p {port}:{port} {_image(told)}"]
    )


@export.command("kubernetes")
def kubernetes(
    context: typer.Context,
    ref: Ref,
    out: Out,
    image: Annotated[
        str, typer.Option(help="Where the image will be, for instance registry.example.com/delay:3.")
    ] = "",
    replicas: Annotated[int, typer.Option(help="Pods, at least.", min=1)] = 2,
    max_replicas: Annotated[int, typer.Option(help="Pods, at most, as load grows.", min=1)] = 10,
    cpu: Annotated[str, typer.Option(help="Processors that a pod is given.")] = "500m",
    memory: Annotated[str, typer.Option(help="Memory of a pod.")] = "1Gi",
    namespace: Annotated[str, typer.Option(help="Where; the current one by default.")] = "",
    port: Port = 8000,
) -> None:
    """The image, and manifests: Deployment, Service, scaling, disruptions; and one for KServe."""
    from modelworks.pipelines.export import Wanted

    door: Door = context.obj
    wanted = Wanted(image, replicas, max_replicas, cpu, memory, namespace)
    with door.factory() as factory:
        told = factory.export_kubernetes(ref, out, wanted, port)
    name = image or _image(told)
    _said(
        door,
        told,
        [
            f"docker build -t {name} {out}/image && docker push {name}",
            f"kubectl apply -f {out}/kubernetes.yaml   (with KServe: {out}/kserve.yaml)",
        ],
    )


def _image(told: Any) -> str:
    from modelworks.pipelines.export.words import image_name

    return f"{image_name(told.name)}:{told.tag}"


def _said(door: Door, told: Any, then: list[str]) -> None:
    from modelworks.core.plain import plain

    if door.json:
        return show.raw(plain(told))
    answering = len(told.versions)
    show.facts(
        [
            ("model", told.ref),
            ("answering", f"{answering:,} version{'' if answering == 1 else 's'}"),
            ("installs", f"{told.requirements} distributions, each pinned"),
            ("written", f"{told.folder}: {told.files:,} files, {told.bytes / 1e6:,.1f} MB"),
        ]
    )
    for line in then:
        show.hint(line)
    return None
