"""Every model of the catalog, and the metadata about models."""

from io import BytesIO
from typing import Any

import pytest
import requests
from PIL import Image

from replicate_proxy.input_schemas.rules import build_rules
from tools.simulator.client import SimulatorClient
from tools.simulator.models.catalog import MODELS
from tools.simulator.models.model import Model, compute_version_id


def run_model(api: Any, name: str, **model_input: Any) -> Any:
    body = {"version": compute_version_id(name), "input": model_input}
    response = api.call("POST", "/v1/predictions", json=body, headers={"Prefer": "wait"}, timeout=30)
    assert response.json()["status"] == "succeeded", response.text
    return response.json()["output"]


def fetch(url: str) -> requests.Response:
    response = requests.get(url, timeout=10)
    assert response.status_code == 200
    return response


def fetch_image(url: str) -> Image.Image:
    return Image.open(BytesIO(fetch(url).content))


@pytest.mark.parametrize("kind", ["webp", "jpg", "png"])
def test_flux_returns_requested_format_number_and_size(api: Any, kind: str) -> None:
    output = run_model(
        api,
        "black-forest-labs/flux-schnell",
        prompt="x",
        output_format=kind,
        num_outputs=3,
        width=320,
        height=192,
    )
    images = [fetch_image(url) for url in output]
    assert [image.size for image in images] == [(320, 192)] * 3
    assert {image.format for image in images} == {{"webp": "WEBP", "jpg": "JPEG", "png": "PNG"}[kind]}
    assert len({fetch(url).content for url in output}) == 3


def test_full_size_png_has_size_and_compressibility_of_photograph(api: Any) -> None:
    body = fetch(run_model(api, "stability-ai/sdxl", prompt="x")[0]).content
    webp = BytesIO()
    Image.open(BytesIO(body)).save(webp, "WEBP", quality=80)
    assert 1_000_000 < len(body) < 2_500_000
    assert len(webp.getvalue()) < len(body) / 5


@pytest.mark.parametrize(
    ("name", "model_input", "magic_bytes"),
    [
        ("black-forest-labs/flux-1.1-pro", {"prompt": "x"}, b"RIFF"),
        ("minimax/video-01", {"prompt": "x"}, b"\x00\x00\x00\x20ftypisom"),
        ("meta/musicgen", {"duration": 1}, b"RIFF"),
        ("recraft-ai/recraft-v3-svg", {}, b"<svg"),
        ("local/animated-gif", {"frames": 3}, b"GIF89a"),
        ("local/archive", {}, b"PK"),
    ],
)
def test_model_returns_single_url(
    api: Any, name: str, model_input: dict[str, Any], magic_bytes: bytes
) -> None:
    output = run_model(api, name, **model_input)
    assert isinstance(output, str)
    assert fetch(output).content.startswith(magic_bytes)


def test_nested_outputs_contain_urls(api: Any) -> None:
    parts, grid = run_model(api, "local/parts"), run_model(api, "local/grid")
    captioned = run_model(api, "local/captioned", prompt="cat")
    assert (parts["depth"], parts["caption"]) == (None, "a sofa by a window")
    assert fetch_image(parts["extra"]["preview"]).format == "WEBP"
    assert [item["text"] for item in captioned] == ["cat 0", "cat 1", "cat 2"]
    assert [len(row) for row in grid] == [2, 2]
    assert len({url for row in grid for url in row}) == 4


def test_many_files_have_unique_urls(api: Any) -> None:
    output = run_model(api, "local/many-files", n=249)
    assert len(set(output)) == 249


def test_files_with_equal_names_have_different_folders(api: Any) -> None:
    output = run_model(api, "local/same-names", n=3)
    assert {url.rsplit("/", 1)[1] for url in output} == {"out.png"}
    assert len(set(output)) == 3


def test_data_uri_and_third_party_file_are_returned(api: Any, simulator: SimulatorClient) -> None:
    assert run_model(api, "local/data-uri")[0].startswith("data:image/png;base64,iVBOR")
    third_party, own = run_model(api, "local/third-party")
    assert own.startswith(f"{simulator.url}/delivery/")
    assert third_party.startswith("http://localhost:")
    assert simulator.get_stats()["third_party_downloads"] == 0
    fetch(third_party)
    assert simulator.get_stats()["third_party_downloads"] == 1


def test_file_of_every_kind_has_its_content_type(api: Any) -> None:
    served = {
        url.rsplit(".", 1)[1]: fetch(url).headers["content-type"] for url in run_model(api, "local/mixture")
    }
    assert served["wav"] == "audio/wav"
    assert served["glb"] == "model/gltf-binary"
    assert len(served) == 14


def test_models_without_files_return_plain_data(api: Any) -> None:
    assert run_model(api, "local/nothing") is None
    assert run_model(api, "replicate/hello-world", text="you") == "hello you"
    assert [len(row) for row in run_model(api, "local/embeddings")] == [768, 768]
    assert len(run_model(api, "meta/meta-llama-3-8b-instruct", prompt="x", max_tokens=30)) == 30
    assert run_model(api, "openai/whisper", audio="https://example.com/a.wav")["segments"][4]["end"] == 12.5
    assert run_model(api, "local/talkative", lines=5) == "done"


def test_huge_json_has_about_3_mb(api: Any) -> None:
    body = {"version": compute_version_id("local/huge-json"), "input": {}}
    response = api.call("POST", "/v1/predictions", json=body, headers={"Prefer": "wait"}, timeout=30)
    assert 2_500_000 < len(response.content) < 4_000_000


def test_failing_model_fails_with_code(api: Any) -> None:
    body = {"version": compute_version_id("local/failing"), "input": {"code": "E6716"}}
    response = api.call("POST", "/v1/predictions", json=body, headers={"Prefer": "wait"})
    assert (response.json()["status"], "E6716" in response.json()["error"]) == ("failed", True)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.full_name)
def test_model_has_description_version_and_readme(api: Any, model: Any) -> None:
    view = api.call("GET", f"/v1/models/{model.full_name}").json()
    version = api.call("GET", f"/v1/models/{model.full_name}/versions/{model.version}").json()
    assert (view["owner"], view["name"], view["is_official"]) == (
        model.owner,
        model.name,
        model.is_official,
    )
    assert view["latest_version"] == version
    assert set(version["openapi_schema"]["components"]["schemas"]) >= {"Input", "Output"}
    assert api.call("GET", f"/v1/models/{model.full_name}/readme").text.startswith("# ")
    assert api.call("GET", f"/v1/models/{model.full_name}/versions/{'0' * 64}").status_code == 404


def test_examples_are_successful_predictions(api: Any) -> None:
    assert api.call("GET", "/v1/models/local/lab/examples").json()["results"] == []
    prediction = api.run_lab(output=1)
    assert [item["id"] for item in api.call("GET", "/v1/models/local/lab/examples").json()["results"]] == [
        prediction["id"]
    ]


def test_search_and_query_find_models(api: Any, simulator: SimulatorClient) -> None:
    found = requests.get(
        f"{simulator.url}/v1/search", params={"query": "svg vector", "limit": "3"}, timeout=10
    ).json()
    queried = api.call("QUERY", "/v1/models", data="vector svg").json()
    assert [item["model"]["name"] for item in found["models"]] == ["recraft-v3-svg"]
    assert [item["name"] for item in queried["results"]] == ["recraft-v3-svg"]
    assert requests.get(f"{simulator.url}/v1/search", timeout=10).status_code == 400


def test_official_collection_has_only_official_models(api: Any) -> None:
    official = api.call("GET", "/v1/collections/official").json()
    assert all(model["is_official"] for model in official["models"])
    assert api.call("GET", "/v1/collections/none").status_code == 404


def test_lab_returns_requested_output_logs_and_metrics(api: Any) -> None:
    prediction = api.run_lab(
        output={
            "a": [{"$file": "png", "width": 16, "height": 8}, 3, None],
            "b": {"$file": "txt", "name": "ä b.txt"},
        },
        logs="one\ntwo\n",
        metrics={"image_count": 1},
    )
    output = prediction["output"]
    assert fetch_image(output["a"][0]).size == (16, 8)
    assert output["a"][1:] == [3, None]
    assert fetch(output["b"]).headers["content-type"] == "text/plain; charset=utf-8"
    assert prediction["logs"] == "one\ntwo\n"
    assert prediction["metrics"]["image_count"] == 1


def test_partial_output_is_visible_during_run(api: Any, simulator: SimulatorClient) -> None:
    prediction = api.create_lab(partial=[["a"]], output=["a", "b"], hold=True, latency=0.05)
    for _ in range(200):
        view = api.get_prediction(prediction["id"])
        if view["output"]:
            break
    assert (view["status"], view["output"]) == ("processing", ["a"])


@pytest.mark.parametrize("mode", ["RGBA", "L", "P", "I;16"])
def test_image_has_requested_mode(api: Any, mode: str) -> None:
    output = api.run_lab(output={"$file": "png", "width": 40, "height": 30, "mode": mode})["output"]
    assert fetch_image(output).mode == mode


def test_jpeg_is_oriented_or_corrupt_when_requested(api: Any) -> None:
    rotated = {"$file": "jpg", "width": 40, "height": 30, "orientation": 6, "mode": "CMYK"}
    corrupt = {"$file": "jpg", "width": 40, "height": 30, "corrupt": True}
    rotated_url, corrupt_url = api.run_lab(output=[rotated, corrupt])["output"]
    assert (fetch_image(rotated_url).getexif()[0x0112], fetch_image(rotated_url).mode) == (6, "CMYK")
    with pytest.raises(OSError, match=r"(?i)truncated"):
        fetch_image(corrupt_url).load()


def test_image_mode_unsupported_by_format_fails_run(api: Any) -> None:
    prediction = api.run_lab(output={"$file": "png", "width": 8, "height": 8, "mode": "CMYK"})
    assert (prediction["status"], prediction["error"][:17]) == ("failed", "Prediction failed")


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.full_name)
def test_schema_of_a_model_says_what_a_create_is_checked_for(api: Any, model: Model) -> None:
    version = api.call("GET", f"/v1/models/{model.full_name}").json()["latest_version"]

    rules = build_rules(version["openapi_schema"])

    if not model.inputs:
        assert rules is None
        return
    assert rules is not None
    assert set(rules["properties"]) == set(model.inputs)
    assert set(rules.get("required", ())) == set(model.required)
    for name, schema in model.inputs.items():
        found = rules["properties"][name]
        assert schema.get("enum") == (found["allOf"][0]["enum"] if "allOf" in found else None)
        for keyword in ("minimum", "maximum", "format"):
            assert found.get(keyword) == schema.get(keyword)
