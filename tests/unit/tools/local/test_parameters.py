import pytest

from tools.local.errors import LocalError
from tools.local.parameters import parse_overrides


def test_overrides_are_parsed_by_name() -> None:
    overrides = parse_overrides(["ImageFormat=avif", "MaxWaitSeconds=5", "PublicBaseUrl=http://a/?b=c"])

    assert overrides == {"ImageFormat": "avif", "MaxWaitSeconds": "5", "PublicBaseUrl": "http://a/?b=c"}


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("nonsense", "not a parameter: nonsense; the form is Key=Value"),
        ("=1", "not a parameter: =1"),
        ("Nope=1", "template.yaml has no parameter Nope"),
        ("ImageFromat=avif", "did you mean ImageFormat?"),
        ("ImageFormat=gif", "'gif' is not one of auto, webp, avif"),
        ("Stage=Not a stage", "does not match"),
        ("ImageQuality=200", "does not match"),
        ("ImageQuality=0", "does not match"),
        ("DeliverySchedule=soon", "does not match"),
        ("WebhookPorts=443;8443", "does not match"),
        ("PublicBaseUrl=https://proxy.example.com/", "does not match"),
        ("WebhookBaseUrl=proxy.example.com", "does not match"),
        ("JwtIssuer=id.example.com", "does not match"),
        ("ApiDomainName=https://api.example.com", "does not match"),
        ("OutputsCertificateArn=arn:aws:acm:eu-central-1:1:certificate/a", "does not match"),
        ("AlarmEmail=ops", "does not match"),
        ("MaxWaitSeconds=soon", "'soon' is not a number"),
        ("MaxWaitSeconds=-1", "is less than 0"),
        ("MaxWaitSeconds=9999", "is more than "),
    ],
)
def test_what_the_template_does_not_allow_is_refused(pair: str, message: str) -> None:
    with pytest.raises(LocalError) as caught:
        parse_overrides([pair])

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
