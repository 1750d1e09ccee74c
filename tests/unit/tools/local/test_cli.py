from pathlib import Path

import pytest

from tools.local import paths
from tools.local.__main__ import main


@pytest.fixture(autouse=True)
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "LOCAL_FOLDER", tmp_path)


@pytest.mark.parametrize("command", [["status"], ["logs"], ["key"]])
def test_without_a_stack_it_says_what_to_do(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command) == 1
    assert capsys.readouterr().err == "error: no local stack is up; run `make up` first\n"


def test_down_is_safe_when_nothing_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["down"]) == 0
    assert "nothing is left running" in capsys.readouterr().out


def test_invoke_names_the_events_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["invoke", "ingest", "events/ingest/none.json"]) == 1
    assert (
        "no event file events/ingest/none.json; for ingest there are events/ingest/"
        in capsys.readouterr().err
    )


def test_invoke_without_docker_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("tools.local.invoke._event_file", lambda _, event: Path(event))

    assert main(["invoke", "ingest", "any.json"]) == 1
    assert "`sam local invoke` needs Docker" in capsys.readouterr().err
