"""The pictures of the local Replicate: scenes that prompts choose, and their number under load."""

import asyncio
from io import BytesIO
from random import Random

import pytest
from PIL import Image, ImageStat

from tools.simulator.media.images import generate_image
from tools.simulator.media.scene import draw_caption, paint_scene
from tools.simulator.media.silhouettes import SILHOUETTES, SILHOUETTES_BY_WORD
from tools.simulator.media.spec import MediaSpec
from tools.simulator.output_files import FileContent, GenerationBudget, MediaPool

SIDE = 256


def mean_brightness(prompt: str) -> float:
    scenes = [paint_scene(SIDE, SIDE, prompt, Random(seed)) for seed in range(4)]
    return sum(ImageStat.Stat(scene.convert("L")).mean[0] for scene in scenes) / len(scenes)


def count_red_pixels(prompt: str) -> int:
    scene = paint_scene(SIDE, SIDE, prompt, Random(1))
    colors = scene.getcolors(SIDE * SIDE) or []
    return sum(count for count, color in colors if color == (190, 40, 40))


def test_words_of_the_prompt_choose_the_time_of_day() -> None:
    assert mean_brightness("a castle at night") < mean_brightness("a castle at dusk")
    assert mean_brightness("a castle at dusk") < mean_brightness("a castle in the snow")


def test_words_of_the_prompt_choose_the_color() -> None:
    assert count_red_pixels("a red house") > 500
    assert count_red_pixels("a blue house") == 0


@pytest.mark.parametrize("word", ["lighthouse", "Cats", "bicycles", "skyline"])
def test_words_of_the_prompt_choose_the_silhouette(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    for name in SILHOUETTES:
        monkeypatch.setitem(SILHOUETTES, name, lambda *_, name=name: drawn.append(name))

    paint_scene(SIDE, SIDE, f"two {word}, oil on canvas", Random(5))

    assert drawn == [SILHOUETTES_BY_WORD[word.lower().removesuffix("s")]]


@pytest.mark.parametrize("name", SILHOUETTES)
def test_every_silhouette_is_visible(name: str) -> None:
    word = next(word for word, silhouette in SILHOUETTES_BY_WORD.items() if silhouette == name)
    with_silhouette = paint_scene(SIDE, SIDE, f"white {word}", Random(2))
    other_color = paint_scene(SIDE, SIDE, f"purple {word}", Random(2))

    assert with_silhouette.tobytes() != other_color.tobytes()


def test_same_prompt_and_seed_give_the_same_picture_and_others_another() -> None:
    pictures = {
        generate_image(MediaSpec(width=SIDE, height=SIDE, prompt=prompt), Random(seed))
        for prompt, seed in (("a cat", 1), ("a cat", 1), ("a cat", 2), ("a dog", 1))
    }

    assert len(pictures) == 3


@pytest.mark.parametrize("prompt", ["a cat", "猫", "a long prompt " * 40, "\x00\n", "naïve café"])
@pytest.mark.parametrize("size", [(1, 1), (200, 40), (512, 256)])
def test_any_prompt_fits_on_any_size(prompt: str, size: tuple[int, int]) -> None:
    picture = Image.new("RGB", size, "white")
    draw_caption(picture, prompt)
    scene = paint_scene(*size, prompt, Random(1))

    assert picture.size == scene.size == size


def test_caption_is_at_the_bottom_only() -> None:
    picture = Image.new("RGB", (SIDE, SIDE), "white")
    draw_caption(picture, "a cat")

    assert picture.crop((0, 0, SIDE, SIDE // 2)).getcolors() == [(SIDE * SIDE // 2, (255, 255, 255))]
    assert len(picture.getcolors(SIDE * SIDE) or []) > 3


def test_pictures_compress_like_photographs() -> None:
    png = generate_image(MediaSpec(prompt="a lighthouse at dusk"), Random(1))
    webp = generate_image(MediaSpec(kind="webp", prompt="a lighthouse at dusk"), Random(1))

    assert Image.open(BytesIO(png)).size == (1024, 1024)
    assert 1_400_000 < len(png) < 2_000_000
    assert 0.02 < len(webp) / len(png) < 0.1


def test_budget_allows_a_burst_and_then_one_picture_per_interval() -> None:
    now = 0.0
    budget = GenerationBudget(burst=2, seconds_per_picture=5, clock=lambda: now)

    assert [budget.take() for _ in range(3)] == [True, True, False]
    now = 10.0
    assert [budget.take() for _ in range(3)] == [True, True, False]


def test_pool_reuses_pictures_when_the_budget_is_used_up() -> None:
    pool = MediaPool(0, GenerationBudget(burst=2, seconds_per_picture=1000))

    async def get(prompt: str) -> FileContent:
        return await pool.get(MediaSpec(width=16, height=16, prompt=prompt))

    async def run() -> None:
        first, second = await get("one"), await get("two")
        others = {(await get(f"prompt {number}")).etag for number in range(100)}
        assert first.etag != second.etag
        assert not {first.etag, second.etag} & others
        assert len(others) == 8

    asyncio.run(run())


def test_pool_returns_the_same_picture_for_the_same_seed() -> None:
    async def run() -> None:
        pool = MediaPool(0)
        spec = MediaSpec(width=16, height=16, prompt="one", seed=7)
        assert await pool.get(spec) is await pool.get(spec)
        assert (await pool.get(spec, 1)).etag != (await pool.get(spec, 0)).etag
        unseeded = MediaSpec(width=16, height=16, prompt="one")
        assert (await pool.get(unseeded)).etag != (await pool.get(unseeded)).etag

    asyncio.run(run())
