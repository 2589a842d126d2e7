"""`python -m worker`: one worker process, configured by the environment (docs/settings.md)."""

import logging
import sys

from pydantic import ValidationError

from registry.logs import configure_logs
from registry.settings import Settings
from worker.app import serve


def main() -> int:
    """Serve until told to stop; 2: the settings are wrong, 1: it must not start, 75: it is to be started again."""
    try:
        settings = Settings()
    except ValidationError as error:
        print(f"the settings are not complete:\n{error}", file=sys.stderr)  # noqa: T201  a command's own words
        return 2
    configure_logs(settings.log_format)
    try:
        return serve(settings)
    except RuntimeError as error:
        logging.getLogger("worker").error("%s", error)  # noqa: TRY400  the sentence says it all
        return 1


if __name__ == "__main__":
    sys.exit(main())
