"""The texts of an image: how it is built, what it is."""

from __future__ import annotations

from collections.abc import Mapping

USER = 10001
"""Who the server runs as in the image."""
STATE = "/srv/model/.modelworks"
"""The only folder of the image that the server writes to."""

DOCKERFILE = f"""\
# One model as a service; build it in this folder: see README.md.
FROM python:{{python}}-slim

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

RUN useradd --uid {USER} --no-create-home --shell /usr/sbin/nologin modelworks

# Everything that it needs is in the lock, each distribution in one version.
COPY requirements.txt /srv/requirements.txt
RUN pip install --no-deps --requirement /srv/requirements.txt

COPY modelworks /srv/code/modelworks
RUN python -m compileall -q /srv/code
ENV PYTHONPATH=/srv/code

COPY --chown={USER}:{USER} model /srv/model

USER {USER}
WORKDIR /srv/model
EXPOSE {{port}}
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \\
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:{{port}}/readyz', timeout=2)"]
CMD ["python", "-m", "modelworks.cli", "--project", "/srv/model", "up", "--only-predict", "--open", \\
     "--host", "0.0.0.0", "--port", "{{port}}"]
"""

IGNORED = "**/__pycache__\n*.yaml\nREADME.md\n"


def readme(name: str, tag: str, versions: Mapping[str, int], port: int) -> str:
    """What a person has to know who finds the folder."""
    known = "\n".join(
        f"- `{name}{f'[{segment}]' if segment else ''}@{version}`"
        for segment, version in sorted(versions.items())
    )
    return f"""\
# {name} as a service

```console
$ docker build -t {image_name(name)}:{tag} .
$ docker run --rm -p {port}:{port} {image_name(name)}:{tag}
$ curl -s localhost:{port}/v2/models/{name}
```

It answers `POST /predict/{name}`, `POST /outcomes` and the Open Inference Protocol under `/v2`; probes are `/healthz`
and `/readyz`, counts `/metrics`. It needs no factory and no network, and nothing in it can be changed over HTTP.

Everybody who reaches its port may ask it. With `MODELWORKS_SERVER_TOKEN` in its environment callers must send
`Authorization: Bearer TOKEN`.

`MODELWORKS_SERVER_WORKERS=4` lets it use four cores: so many processes answer on the one port.

Each answer is in its prediction log, in `spool` and `tables` under `{STATE}`, before it leaves. Mount
volumes there to keep the log longer than the container.

What answers, by its name and number in the factory that made it:

{known}
"""


def image_name(name: str) -> str:
    """A model's name as one of an image, or of an object in Kubernetes: lower case, digits and dashes."""
    plain = "".join(letter if letter.isalnum() else "-" for letter in name.lower()).strip("-")
    return plain[:40].rstrip("-")
