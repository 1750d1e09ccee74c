"""Every model of the catalogue, and the metadata about models."""

from io import BytesIO
from typing import Any

import pytest
import requests
from PIL import Image

from tools.simulator.client import SimulatorClient
from tools.simulator.ids import version_id
from tools.simulator.models.catalog import MODELS


def run(api: Any, name: str, **given: Any) -> Any:
    body = {"version": version_id(name), "input": given}
    answer = api.call("POST", "/v1/predictions", json=body, headers={"Prefer": "wait"}, timeout=30)
    assert answer.json()["status"] == "succeeded", answer.text
    return answer.json()["output"]


def fetched(url: str) -> requests.Response:
    answer = requests.get(url, timeout=10)
    assert answer.status_code == 200
    return answer


def image(url: str) -> Image.Image:
    return Image.open(BytesIO(fetched(url).content))


@pytest.mark.parametrize("kind", ["webp", "jpg", "png"])
def test_flux_gives_the_asked_format_number_and_size(api: Any, kind: str) -> None:
    output = run(
        api,
        "black-forest-labs/flux-schnell",
        prompt="x",
        output_format=kind,
        num_outputs=3,
        width=320,
        height=192,
    )
    pictures = [image(url) for url in output]
    assert [picture.size for picture in pictures] == [(320, 192)] * 3
    assert {picture.format for picture in pictures} == {{"webp": "WEBP", "jpg": "JPEG", "png": "PNG"}[kind]}
    assert len({fetched(url).content for url in output}) == 3


def test_a_full_size_png_weighs_what_a_photograph_does_and_compresses_like_one(api: Any) -> None:
    body = fetched(run(api, "stability-ai/sdxl", prompt="x")[0]).content
    smaller = BytesIO()
    Image.open(BytesIO(body)).save(smaller, "WEBP", quality=80)
    assert 1_000_000 < len(body) < 2_500_000
    assert len(smaller.getvalue()) < len(body) / 5


@pytest.mark.parametrize(
    ("name", "given", "magic"),
    [
        ("black-forest-labs/flux-1.1-pro", {"prompt": "x"}, b"RIFF"),
        ("minimax/video-01", {"prompt": "x"}, b"\x00\x00\x00\x20ftypisom"),
        ("meta/musicgen", {"duration": 1}, b"RIFF"),
        ("recraft-ai/recraft-v3-svg", {}, b"<svg"),
        ("local/animated-gif", {"frames": 3}, b"GIF89a"),
        ("local/archive", {}, b"PK"),
    ],
)
def test_models_that_give_one_bare_url(api: Any, name: str, given: dict[str, Any], magic: bytes) -> None:
    output = run(api, name, **given)
    assert isinstance(output, str)
    assert fetched(output).content.startswith(magic)


def test_shapes_that_hold_urls(api: Any) -> None:
    parts, grid = run(api, "local/parts"), run(api, "local/grid")
    captioned = run(api, "local/captioned", prompt="cat")
    assert (parts["depth"], parts["caption"]) == (None, "a sofa by a window")
    assert image(parts["extra"]["preview"]).format == "WEBP"
    assert [item["text"] for item in captioned] == ["cat 0", "cat 1", "cat 2"]
    assert [len(row) for row in grid] == [2, 2]
    assert len({url for row in grid for url in row}) == 4


def test_many_files_have_unique_urls(api: Any) -> None:
    output = run(api, "local/many-files", n=249)
    assert len(set(output)) == 249


def test_equal_names_have_different_folders(api: Any) -> None:
    output = run(api, "local/same-names", n=3)
    assert {url.rsplit("/", 1)[1] for url in output} == {"out.png"}
    assert len(set(output)) == 3


def test_a_data_uri_and_a_third_party_file(api: Any, remote: SimulatorClient) -> None:
    assert run(api, "local/data-uri")[0].startswith("data:image/png;base64,iVBOR")
    foreign, own = run(api, "local/third-party")
    assert own.startswith(f"{remote.url}/delivery/")
    assert foreign.startswith("http://localhost:")
    assert remote.get_stats()["third_party_downloads"] == 0
    fetched(foreign)
    assert remote.get_stats()["third_party_downloads"] == 1


def test_a_file_of_every_kind_has_its_content_type(api: Any) -> None:
    served = {
        url.rsplit(".", 1)[1]: fetched(url).headers["content-type"] for url in run(api, "local/mixture")
    }
    assert served["wav"] == "audio/wav"
    assert served["glb"] == "model/gltf-binary"
    assert len(served) == 14


def test_outputs_without_files(api: Any) -> None:
    assert run(api, "local/nothing") is None
    assert run(api, "replicate/hello-world", text="you") == "hello you"
    assert [len(row) for row in run(api, "local/embeddings")] == [768, 768]
    assert len(run(api, "meta/meta-llama-3-8b-instruct", prompt="x", max_tokens=30)) == 30
    assert run(api, "openai/whisper", audio="https://example.com/a.wav")["segments"][4]["end"] == 12.5
    assert run(api, "local/talkative", lines=5) == "done"


def test_huge_json(api: Any) -> None:
    body = {"version": version_id("local/huge-json"), "input": {}}
    answer = api.call("POST", "/v1/predictions", json=body, headers={"Prefer": "wait"}, timeout=30)
    assert 2_500_000 < len(answer.content) < 4_000_000


def test_the_failing_model_fails(api: Any) -> None:
    body = {"version": version_id("local/failing"), "input": {"code": "E6716"}}
    answer = api.call("POST", "/v1/predictions", json=body, headers={"Prefer": "wait"})
    assert (answer.json()["status"], "E6716" in answer.json()["error"]) == ("failed", True)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.full_name)
def test_every_model_is_described(api: Any, model: Any) -> None:
    shown = api.call("GET", f"/v1/models/{model.full_name}").json()
    version = api.call("GET", f"/v1/models/{model.full_name}/versions/{model.version}").json()
    assert (shown["owner"], shown["name"], shown["is_official"]) == (
        model.owner,
        model.name,
        model.is_official,
    )
    assert shown["latest_version"] == version
    assert set(version["openapi_schema"]["components"]["schemas"]) >= {"Input", "Output"}
    assert api.call("GET", f"/v1/models/{model.full_name}/readme").text.startswith("# ")
    assert api.call("GET", f"/v1/models/{model.full_name}/versions/{'0' * 64}").status_code == 404


def test_examples_are_real_predictions(api: Any) -> None:
    assert api.call("GET", "/v1/models/local/lab/examples").json()["results"] == []
    made = api.finished(output=1)
    assert [item["id"] for item in api.call("GET", "/v1/models/local/lab/examples").json()["results"]] == [
        made["id"]
    ]


def test_search_and_query_find_models(api: Any, remote: SimulatorClient) -> None:
    found = requests.get(
        f"{remote.url}/v1/search", params={"query": "svg vector", "limit": "3"}, timeout=10
    ).json()
    queried = api.call("QUERY", "/v1/models", data="vector svg").json()
    assert [item["model"]["name"] for item in found["models"]] == ["recraft-v3-svg"]
    assert [item["name"] for item in queried["results"]] == ["recraft-v3-svg"]
    assert requests.get(f"{remote.url}/v1/search", timeout=10).status_code == 400


def test_collections(api: Any) -> None:
    official = api.call("GET", "/v1/collections/official").json()
    assert all(model["is_official"] for model in official["models"])
    assert api.call("GET", "/v1/collections/none").status_code == 404


def test_the_lab_gives_any_shape_and_grows(api: Any) -> None:
    prediction = api.finished(
        output={
            "a": [{"$file": "png", "width": 16, "height": 8}, 3, None],
            "b": {"$file": "txt", "name": "ä b.txt"},
        },
        logs="one\ntwo\n",
        metrics={"image_count": 1},
    )
    output = prediction["output"]
    assert image(output["a"][0]).size == (16, 8)
    assert output["a"][1:] == [3, None]
    assert fetched(output["b"]).headers["content-type"] == "text/plain; charset=utf-8"
    assert prediction["logs"] == "one\ntwo\n"
    assert prediction["metrics"]["image_count"] == 1


def test_partial_output_shows_while_it_runs(api: Any, remote: SimulatorClient) -> None:
    prediction = api.lab(partial=[["a"]], output=["a", "b"], hold=True, latency=0.05)
    for _ in range(200):
        shown = api.get(prediction["id"])
        if shown["output"]:
            break
    assert (shown["status"], shown["output"]) == ("processing", ["a"])


@pytest.mark.parametrize("mode", ["RGBA", "L", "P", "I;16"])
def test_unusual_pictures(api: Any, mode: str) -> None:
    output = api.finished(output={"$file": "png", "width": 40, "height": 30, "mode": mode})["output"]
    assert image(output).mode == mode


def test_an_oriented_jpeg_and_a_corrupt_one(api: Any) -> None:
    turned = {"$file": "jpg", "width": 40, "height": 30, "orientation": 6, "mode": "CMYK"}
    broken = {"$file": "jpg", "width": 40, "height": 30, "corrupt": True}
    good, bad = api.finished(output=[turned, broken])["output"]
    assert (image(good).getexif()[0x0112], image(good).mode) == (6, "CMYK")
    with pytest.raises(OSError, match=r"(?i)truncated"):
        image(bad).load()


def test_a_picture_that_its_format_cannot_hold_fails_the_run(api: Any) -> None:
    prediction = api.finished(output={"$file": "png", "width": 8, "height": 8, "mode": "CMYK"})
    assert (prediction["status"], prediction["error"][:17]) == ("failed", "Prediction failed")
