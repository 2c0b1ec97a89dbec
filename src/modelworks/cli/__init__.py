"""The command line: every verb, on a project folder or on a server."""

from __future__ import annotations

import os
import sys
from typing import Any


def main() -> None:
    """Run the command; errors become a panel and an exit code, never a traceback."""
    from typer import Abort, BadParameter
    from typer.main import get_command

    from modelworks.cli.app import app
    from modelworks.core.errors import Invalid, ModelworksError

    if os.environ.get("MODELWORKS_DEBUG"):
        app()
        return
    refusal: Any = BadParameter.__mro__[
        2
    ]  # click's own, which typer carries within itself under a private name
    code = 0
    try:
        code = get_command(app).main(_arguments(sys.argv[1:]), standalone_mode=False) or 0
    except ModelworksError as error:
        from modelworks.console.terminal import failure, raw

        if "--json" in sys.argv:
            raw({"error": error.to_json()})
        else:
            failure(error)
        code = 2 if isinstance(error, Invalid) and error.what.startswith("usage:") else 1
    except refusal as error:
        error.show()
        code = error.exit_code
    except (Abort, KeyboardInterrupt):
        code = 130
    except BrokenPipeError:
        sys.stderr.close()
        code = 1
    sys.exit(code)


def _arguments(given: list[str]) -> list[str]:
    """The arguments with ``--json`` in front, where it is understood: people write it at the end."""
    words = given[: given.index("--")] if "--" in given else given
    if "--json" not in words:
        return given
    place = words.index("--json")
    return ["--json", *given[:place], *given[place + 1 :]]
