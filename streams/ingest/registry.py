"""A schema registry with Confluent's interface, as a reader needs it: schemas by number or GUID, with their references.

Numbers name a schema in the whole registry, so no subject is needed, whichever strategy named it.
"""

from __future__ import annotations

import re
import time
from dataclasses import KW_ONLY, dataclass
from typing import Any, Final

from schemas.errors import SettingsError, Transient
from streams.ingest.forms import SchemaText
from streams.ingest.framed import GlobalId, SchemaId

# A look at a registry holds up the loop of a worker, which must turn once in a minute.
_ANSWER_S: Final = 5.0
# A schema with all it builds on. What was answered until then is kept, so another try goes on from there.
_SCHEMA_S: Final = 10.0
_GONE: Final = 404
# Of one schema, all levels together.
_MOST_REFERENCES: Final = 200
# Where Apicurio has Confluent's interface, in its addresses.
_COMPATIBLE: Final = re.compile(r"/apis/ccompat/v\d+")
# A user's name and password may stand in an address; they must not be shown.
_LOGIN: Final = re.compile(r"(?<=://)[^/,]*@")


@dataclass(frozen=True, slots=True)
class RegistrySettings:
    """Where a registry is, and how this client says who it is. Several addresses are separated by commas."""

    url: str
    _: KW_ONLY
    user: str = ""
    password: str = ""
    token: str = ""
    ca_location: str = ""
    certificate_location: str = ""
    key_location: str = ""

    def __repr__(self) -> str:
        return f"RegistrySettings({_shown(self.url)!r})"


class Registry:
    """A client of a registry. Raises SettingsError for settings that cannot work, and where a package is missing."""

    def __init__(self, settings: RegistrySettings) -> None:
        try:
            from confluent_kafka.schema_registry import SchemaRegistryClient
        except ImportError as error:
            raise SettingsError(
                f"SCHEMA_REGISTRY_URL is set, which needs {error.name}: `pip install 'clickfold[registry]'`"
            ) from error
        given = {
            "basic.auth.user.info": f"{settings.user}:{settings.password}" if settings.user else "",
            "bearer.auth.credentials.source": "STATIC_TOKEN" if settings.token else "",
            "bearer.auth.token": settings.token,
            # Confluent Cloud alone has these; other registries pass over the headers.
            "bearer.auth.logical.cluster": "none" if settings.token else "",
            "bearer.auth.identity.pool.id": "none" if settings.token else "",
            "ssl.ca.location": settings.ca_location,
            "ssl.certificate.location": settings.certificate_location,
            "ssl.key.location": settings.key_location,
        }
        self._url = _shown(settings.url)
        try:
            # It is asked anew by whoever waits, so that a worker sees a signal meanwhile.
            shared = {"timeout": _ANSWER_S, "max.retries": 0, **{name: each for name, each in given.items() if each}}
            self._client: Any = SchemaRegistryClient({"url": settings.url, **shared})
            # Apicurio's own interface, beside that of Confluent.
            own = _COMPATIBLE.sub("/apis/registry/v3", settings.url)
            self._own: Any = SchemaRegistryClient({"url": own, **shared}) if own != settings.url else None
        except (ValueError, TypeError, OSError) as error:
            raise SettingsError(f"the settings of the schema registry cannot work: {error}") from error

    def close(self) -> None:
        """Closes its connections."""
        self._client.close()
        if self._own is not None:
            self._own.close()

    def fetch(self, schema: SchemaId) -> SchemaText | None:
        """A schema with all it builds on; None where the registry says that there is none of this name.

        Raises Transient for every other answer, and for none.
        """
        if isinstance(schema, GlobalId):
            number = self._content_of(schema)
            if number is None:
                return None
            schema = number
        found = self._ask(
            self._client.get_schema_by_guid if isinstance(schema, str) else self._client.get_schema, schema
        )
        if found is None:
            return None
        references: dict[str, str] = {}
        if not self._add_references(found, references, time.monotonic() + _SCHEMA_S):
            return None
        return SchemaText(found.schema_type or "AVRO", found.schema_str, tuple(references.items()))

    def _content_of(self, schema: GlobalId) -> int | None:
        """The number by which Confluent's interface knows the content of a version; None where there is none."""
        if self._own is None:
            return None
        # The client has no public way to ask another path with its addresses, certificates and sign-in.
        found = self._ask(self._own._rest_client.get, "search/versions", {"globalId": schema.number})
        versions = found.get("versions", ()) if found is not None else ()
        return int(versions[0]["contentId"]) if versions else None

    def _add_references(self, schema: Any, found: dict[str, str], until_s: float) -> bool:
        """Adds the references of a schema, those first that they build on. Returns whether all are there."""
        for reference in schema.references or ():
            if reference.name in found or len(found) >= _MOST_REFERENCES:
                continue
            if time.monotonic() > until_s:
                raise Transient(f"the schema registry at {self._url} takes over {_SCHEMA_S:.0f} s for one schema")
            registered = self._ask(self._client.get_version, reference.subject, reference.version, True)
            if registered is None or not self._add_references(registered.schema, found, until_s):
                return False
            found[reference.name] = registered.schema.schema_str
        return True

    def _ask(self, question: Any, *arguments: Any) -> Any:
        import httpx2  # what the client is made of
        from confluent_kafka.schema_registry.error import OAuthTokenError, SchemaRegistryError

        try:
            return question(*arguments)
        except SchemaRegistryError as error:
            if error.http_status_code == _GONE:
                return None
            raise Transient(
                f"the schema registry at {self._url} answers {error.http_status_code} ({error.error_message})"
            ) from error
        except (httpx2.HTTPError, OAuthTokenError, OSError, ValueError, TypeError, KeyError) as error:
            raise Transient(
                f"the schema registry at {self._url} does not answer ({type(error).__name__}: {_shown(str(error))})"
            ) from error


def _shown(url: str) -> str:
    """The addresses without the names and passwords of users."""
    return _LOGIN.sub("", url)
