"""`python -m streams.pacing`: the worker alone, set up by KAFKA_* and PACE_* variables."""

from __future__ import annotations

import os
import sys

import structlog

from schemas.errors import ClickfoldError
from streams.pacing.settings import from_environment
from streams.pacing.worker import run


def main() -> int:
    """Exit code: 0 after a stop that was asked for, 1 otherwise."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    environment = os.environ
    more = {
        "topic_prefix": environment.get("PACE_TOPIC_PREFIX", "ads."),
        "app_id": environment.get("PACE_APP_ID", ""),
        "instance_id": environment.get("PACE_INSTANCE_ID", ""),
        "session_timeout_s": float(environment.get("PACE_SESSION_TIMEOUT_S", "10")),
        "data_dir": environment.get("PACE_DATA_DIR", "data/pace"),
        "web_port": int(environment.get("PACE_WEB_PORT", "6066")),
        "tick_s": float(environment.get("PACE_TICK_S", "1")),
    }
    try:
        run(from_environment(environment, **more), on_ready=lambda: print("ready", flush=True))  # noqa: T201
    except ClickfoldError as failure:
        sys.stderr.write(f"{failure}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
