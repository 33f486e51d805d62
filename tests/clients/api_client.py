"""`datadog-api-client` pointed at a gateway, and the bodies that tests send with it. No tests here."""

import time
import warnings

from datadog_api_client import ApiClient, Configuration
from datadog_api_client.v1.model.distribution_point import DistributionPoint
from datadog_api_client.v1.model.distribution_points_payload import DistributionPointsPayload
from datadog_api_client.v1.model.distribution_points_series import DistributionPointsSeries
from datadog_api_client.v1.model.event_create_request import EventCreateRequest as EventV1
from datadog_api_client.v1.model.http_log import HTTPLog as HTTPLogV1
from datadog_api_client.v1.model.http_log_item import HTTPLogItem as HTTPLogItemV1
from datadog_api_client.v1.model.metrics_payload import MetricsPayload
from datadog_api_client.v1.model.point import Point
from datadog_api_client.v1.model.series import Series
from datadog_api_client.v1.model.service_check import ServiceCheck
from datadog_api_client.v1.model.service_check_status import ServiceCheckStatus
from datadog_api_client.v1.model.service_checks import ServiceChecks
from datadog_api_client.v2.model.alert_event_custom_attributes import AlertEventCustomAttributes
from datadog_api_client.v2.model.alert_event_custom_attributes_status import AlertEventCustomAttributesStatus
from datadog_api_client.v2.model.event_category import EventCategory
from datadog_api_client.v2.model.event_create_request import EventCreateRequest
from datadog_api_client.v2.model.event_create_request_payload import EventCreateRequestPayload
from datadog_api_client.v2.model.event_create_request_type import EventCreateRequestType
from datadog_api_client.v2.model.event_payload import EventPayload
from datadog_api_client.v2.model.http_log import HTTPLog
from datadog_api_client.v2.model.http_log_item import HTTPLogItem
from datadog_api_client.v2.model.metric_intake_type import MetricIntakeType
from datadog_api_client.v2.model.metric_payload import MetricPayload
from datadog_api_client.v2.model.metric_point import MetricPoint
from datadog_api_client.v2.model.metric_series import MetricSeries


# Said of each call of an operation that is marked so; it is called on purpose.
warnings.filterwarnings("ignore", message="Using unstable operation")


def configuration(gateway, api_key=None, application_key=None):
    """A Configuration with the host changed and nothing else; without keys, those of the demo."""
    made = Configuration(host=gateway.url)
    made.api_key["apiKeyAuth"] = api_key or gateway.api_key
    if application_key is not None:
        made.api_key["appKeyAuth"] = application_key
    elif api_key is None:
        made.api_key["appKeyAuth"] = gateway.application_key
    else:
        # The client would take one from the environment.
        made.api_key.pop("appKeyAuth", None)
    return made


def client(gateway, api_key=None, application_key=None):
    return ApiClient(configuration(gateway, api_key, application_key))


def series_v1(name="keygate.v1", value=1.0, tags=("a:b",)):
    point = Point([time.time(), value])
    return MetricsPayload(series=[Series(metric=name, type="gauge", points=[point], tags=list(tags), host="here")])


def series_v2(name="keygate.v2", value=1.0):
    point = MetricPoint(timestamp=int(time.time()), value=value)
    return MetricPayload(series=[MetricSeries(metric=name, type=MetricIntakeType.GAUGE, points=[point])])


def distribution():
    point = DistributionPoint([time.time(), [1.0, 2.0]])
    return DistributionPointsPayload(series=[DistributionPointsSeries(metric="keygate.spread", points=[point])])


def event_v1():
    return EventV1(title="hello", text="from a test", tags=["a:b"])


def event_v2():
    attributes = AlertEventCustomAttributes(status=AlertEventCustomAttributesStatus.WARN)
    payload = EventPayload(attributes=attributes, category=EventCategory.ALERT, title="hello", message="from a test")
    return EventCreateRequestPayload(data=EventCreateRequest(attributes=payload, type=EventCreateRequestType.EVENT))


def checks():
    return ServiceChecks([ServiceCheck(check="app.ok", host_name="here", status=ServiceCheckStatus.OK, tags=["a:b"])])


def log_v1():
    return HTTPLogV1([HTTPLogItemV1(message="hello", ddsource="test", service="shop")])


def log_v2():
    return HTTPLog([HTTPLogItem(message="hello", ddsource="test", service="shop", ddtags="a:b")])
