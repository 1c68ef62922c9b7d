"""The description of the HTTP interface, made from the types that check and answer calls."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Final

import msgspec

from schemas.serving import ModelFacts, PredictCall, Prediction, Refused

_NO_ANSWER: Final = {
    "400": "The body is no JSON.",
    "408": "The body was not whole in time.",
    "413": "The body is too large.",
    "422": "A field is wrong; the answer names it.",
    "503": "No model is published yet, or too many calls are under way.",
}


def document() -> dict[str, Any]:
    """OpenAPI 3.1, whose schemas are those of JSON Schema 2020-12, as msgspec's are."""
    kinds = (PredictCall, Prediction, ModelFacts, Refused)
    references, schemas = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    schema: dict[type, Any] = {
        kind: {"application/json": {"schema": found}} for kind, found in zip(kinds, references, strict=True)
    }

    def answers(kind: type, text: str, *without: str) -> dict[str, Any]:
        refusals = {
            code: {"description": why, "content": schema[Refused]}
            for code, why in _NO_ANSWER.items()
            if code in without
        }
        return {"200": {"description": text, "content": schema[kind]}, **refusals}

    return {
        "openapi": "3.1.0",
        "info": {"title": "clickfold serve", "version": version("clickfold")},
        "paths": {
            "/v1/predict": {
                "post": {
                    "operationId": "predict",
                    "summary": "Click probabilities of the candidates of an auction, and decisions on their campaigns.",
                    "requestBody": {"required": True, "content": schema[PredictCall]},
                    "responses": answers(Prediction, "One probability for each candidate, in order.", *_NO_ANSWER),
                }
            },
            "/v1/model": {
                "get": {
                    "operationId": "model",
                    "summary": "The model that serves.",
                    "responses": answers(ModelFacts, "Its name and version.", "503"),
                }
            },
        },
        "components": {"schemas": schemas},
    }
