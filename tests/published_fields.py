"""Names of fields as the vendors of ready mappings publish them; taken from the pages below on 2026-11-30.

Of schemas with hundreds of fields only those that are near to what an impression and a click have.
"""

from __future__ import annotations

from typing import Final


def _names(text: str, between: str = " ") -> list[str]:
    return text.split(between)


# iglu-central: atomic, ad_impression and ad_click, each jsonschema 1-0-0.
_AD: Final = "unstruct_event_com_snowplowanalytics_snowplow_ad_"
_AD_FIELDS: Final = _names("impressionId zoneId bannerId campaignId advertiserId targetUrl costModel cost")
_SNOWPLOW: Final = _names(
    "event_id event_name collector_tstamp derived_tstamp dvce_created_tstamp user_id domain_userid network_userid "
    "geo_country geo_region geo_city page_url page_urlhost br_family os_family dvce_type"
)
# The protocol buffers of OpenRTB 2.6; event, timestamp, request and response are what wraps them.
_OPENRTB: Final = _names(
    "request.id request.imp.tagid request.imp.bidfloor request.imp.banner.w request.imp.banner.h request.site.id "
    "request.app.id request.device.geo.country request.device.devicetype request.device.os request.user.id "
    "response.id response.cur response.seatbid.bid.id response.seatbid.bid.impid response.seatbid.bid.price "
    "response.seatbid.bid.adomain response.seatbid.bid.cid response.seatbid.bid.crid"
)
# The common fields of Segment's spec, and those of a track call. What is within `properties` is the user's.
_SEGMENT: Final = _names(
    "type event messageId userId anonymousId timestamp originalTimestamp sentAt receivedAt context.campaign.name "
    "context.device.id context.device.type context.location.country context.os.name context.locale"
)
# support.google.com/admanager/table/7401123
_AD_MANAGER: Final = _names(
    "ImpressionId TimeUsec2 EventTimeUsec2 KeyPart EventKeyPart OrderId LineItemId CreativeId AdvertiserId AdUnitId "
    "EstimatedBackfillRevenue CountryId Country DeviceCategory CreativeSize CreativeSizeDelivered BrowserId Browser "
    "OSId OS UserId"
)
# support.appsflyer.com/hc/en-us/articles/208387843, the names in exported CSV.
_APPSFLYER: Final = _names(
    "Attributed Touch Type,Attributed Touch Time,Install Time,Event Time,Event Name,Media Source,Channel,Campaign,"
    "Campaign ID,Adset,Adset ID,Ad,Ad ID,Ad Type,Site ID,Sub Site ID,Cost Model,Cost Value,Cost Currency,Country Code,"
    "AppsFlyer ID,Advertising ID,IDFA,Customer User ID,Platform,Device Type,Device Category,OS Version",
    between=",",
)
# huggingface.co/datasets/criteo/criteo-attribution-dataset
_CRITEO: Final = _names(
    "timestamp uid campaign conversion conversion_timestamp conversion_id attribution click click_pos click_nb cost "
    "cpo time_since_last_click cat1 cat2 cat3 cat4 cat5 cat6 cat7 cat8 cat9"
)
# The schema in the repository make-ipinyou-data of wnzhang.
_IPINYOU: Final = _names(
    "bidid timestamp logtype ipinyouid useragent IP region city adexchange domain url urlid slotid slotwidth "
    "slotheight slotvisibility slotformat slotprice creative bidprice payprice keypage advertiser usertag"
)
# kaggle.com/c/avazu-ctr-prediction/data
_AVAZU: Final = _names(
    "id click hour C1 banner_pos site_id site_domain site_category app_id app_domain app_category device_id device_ip "
    "device_model device_type device_conn_type C14 C15 C16 C17 C18 C19 C20 C21"
)

PUBLISHED: Final[dict[str, set[str]]] = {
    "snowplow": {
        *_SNOWPLOW,
        *(f"{_AD}impression_1.{name}" for name in _AD_FIELDS),
        *(f"{_AD}click_1.{name}" for name in (*_AD_FIELDS, "clickId")),
    },
    "openrtb": {*_OPENRTB, "event", "timestamp"},
    "segment": set(_SEGMENT),
    "google-ad-manager": set(_AD_MANAGER),
    "appsflyer": set(_APPSFLYER),
    "criteo-attribution": set(_CRITEO),
    "ipinyou": set(_IPINYOU),
    "avazu": set(_AVAZU),
}
