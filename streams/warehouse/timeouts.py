"""How long a client waits for ClickHouse. Apart from the client, so that settings need not import it."""

from typing import Final

# An insert of 50,000 rows takes 0.1 s. After a minute the server is lost, and the insert may be sent again.
ANSWER_TIMEOUT_S: Final = 60

CONNECT_TIMEOUT_S: Final = 5
