import pytest

from tools.local.__main__ import main

pytestmark = pytest.mark.usefixtures("stack_folder")


@pytest.mark.parametrize("command", ["status", "logs", "key"])
def test_command_suggests_make_up_when_no_stack_is_running(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command]) == 1
    assert capsys.readouterr().err == "error: no local stack is running; run `make up` first\n"


def test_down_succeeds_when_nothing_is_running(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["down"]) == 0
    assert "all processes of the stack are stopped" in capsys.readouterr().out


def test_invoke_lists_the_events_of_the_function_when_event_is_unknown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["invoke", "ingest", "events/ingest/none.json"]) == 1
    assert (
        "no event file events/ingest/none.json; the events of ingest are events/ingest/"
        in capsys.readouterr().err
    )


def test_invoke_reports_missing_docker(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")

    assert main(["invoke", "ingest"]) == 1
    assert "`sam local invoke` needs Docker" in capsys.readouterr().err


def test_invoke_lists_the_functions_when_function_is_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["invoke", "nope"]) == 1
    assert "no function nope; the functions are admin, authorize, " in capsys.readouterr().err
