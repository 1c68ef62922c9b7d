"""The description of the HTTP interface, made from the types that check and answer calls."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Final

import msgspec

from schemas.events import MAX_ID_CHARS, Campaign
from schemas.serving import CampaignFacts, CampaignList, CampaignPast, ModelFacts, PredictCall, Prediction, Refused
from streams.campaigns.edit import FIELDS

_NO_ANSWER: Final = {
    "400": "The body is no JSON.",
    "401": "The token is missing, or another one.",
    "403": "The server has no token, so it does not serve this.",
    "404": "There is no such campaign.",
    "408": "The body was not whole in time.",
    "409": "The change is refused: the answer says why.",
    "413": "The body is too large.",
    "422": "A field is wrong; the answer names it.",
    "503": "No model is published yet, too many calls are under way, or Kafka is away.",
}
_CAMPAIGNS: Final = ("401", "403", "503")
_ID: Final = {"type": "string", "minLength": 1, "maxLength": MAX_ID_CHARS}


def document() -> dict[str, Any]:
    """OpenAPI 3.1, whose schemas are those of JSON Schema 2020-12, as msgspec's are."""
    kinds = (PredictCall, Prediction, ModelFacts, Refused, Campaign, CampaignFacts, CampaignList, CampaignPast)
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

    named = {"name": "campaign_id", "in": "path", "required": True, "schema": _ID}
    token: list[dict[str, list[str]]] = [{"token": []}]
    # A field that is left out stays, so none has a default.
    all_fields = schemas["Campaign"]["properties"]
    fields = {name: {key: all_fields[name][key] for key in all_fields[name].keys() - {"default"}} for name in FIELDS}
    change = {"type": "object", "properties": {**fields, "new": {"type": "boolean"}}, "additionalProperties": False}
    changed = answers(CampaignFacts, "What is in force now.", *_CAMPAIGNS, "400", "404", "408", "409", "413", "422")
    waiting = {
        "description": "It is written; the worker `pace` has not judged it yet.",
        "content": schema[CampaignFacts],
    }

    return {
        "openapi": "3.1.0",
        "info": {"title": "clickfold serve", "version": version("clickfold")},
        "paths": {
            "/v1/predict": {
                "post": {
                    "operationId": "predict",
                    "summary": "Click probabilities of the candidates of an auction, and decisions on their campaigns.",
                    "requestBody": {"required": True, "content": schema[PredictCall]},
                    "responses": answers(
                        Prediction,
                        "One probability for each candidate, in order.",
                        *("400", "408", "413", "422", "503"),
                    ),
                }
            },
            "/v1/model": {
                "get": {
                    "operationId": "model",
                    "summary": "The model that serves.",
                    "responses": answers(ModelFacts, "Its name and version.", "503"),
                }
            },
            "/v1/campaigns": {
                "get": {
                    "operationId": "campaigns",
                    "summary": "The campaigns in force.",
                    "security": token,
                    "responses": answers(CampaignList, "All of them.", *_CAMPAIGNS),
                }
            },
            "/v1/campaigns/{campaign_id}": {
                "parameters": [named],
                "get": {
                    "operationId": "campaign",
                    "summary": "One campaign, and the last decision on it.",
                    "security": token,
                    "responses": answers(CampaignFacts, "What is in force.", *_CAMPAIGNS, "404"),
                },
                "post": {
                    "operationId": "changeCampaign",
                    "summary": "Changes fields of a campaign, or announces a new one; what is not given stays.",
                    "security": token,
                    "requestBody": {"required": True, "content": {"application/json": {"schema": change}}},
                    "responses": {**changed, "202": waiting},
                },
            },
            "/v1/campaigns/{campaign_id}/history": {
                "parameters": [named],
                "get": {
                    "operationId": "campaignHistory",
                    "summary": "Every accepted change of a campaign.",
                    "security": token,
                    "responses": answers(CampaignPast, "The changes.", *_CAMPAIGNS, "404"),
                },
            },
        },
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }
