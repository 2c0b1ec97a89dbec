"""The command line: every verb, on a project folder or on a server."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command; errors become a panel and an exit code, never a traceback."""
    from click.exceptions import Abort, ClickException
    from click.exceptions import Exit as ClickExit
    from typer.main import get_command

    from modelworks.cli.app import app
    from modelworks.core.errors import Invalid, ModelworksError

    if os.environ.get("MODELWORKS_DEBUG"):
        app()
        return
    code = 0
    try:
        code = get_command(app).main(standalone_mode=False) or 0
    except ModelworksError as error:
        from modelworks.console.terminal import failure

        failure(error)
        code = 2 if isinstance(error, Invalid) and error.what.startswith("usage:") else 1
    except ClickExit as done:
        code = done.exit_code
    except ClickException as error:
        error.show()
        code = error.exit_code
    except (Abort, KeyboardInterrupt):
        code = 130
    except BrokenPipeError:
        sys.stderr.close()
        code = 1
    sys.exit(code)
