"""The command line: data on stdout, talk and progress on stderr, documented exit codes."""

from __future__ import annotations

import sys

from clnm.errors import UserError


def main() -> None:
    """Run `clnm`; a `UserError` becomes its sentence and exit code, anything else is a bug and keeps its traceback."""
    from clnm.cli import asking, models, setting_up, stages, store
    from clnm.cli.app import app, show_error

    del asking, models, setting_up, stages, store  # imported for the commands they register
    try:
        app()
    except UserError as error:
        show_error(error)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
