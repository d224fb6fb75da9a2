"""The options of the page's program are checked before anything is loaded."""

import socket

import pytest

from app import main


@pytest.mark.parametrize("port", ["0", "65536", "99999", "-1", "many"])
def test_ports_out_of_range_are_refused(port, capsys):
    with pytest.raises(SystemExit) as end:
        main(["--port", port])
    assert end.value.code == 2
    assert "must be a whole number from 1 to 65535" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["203.0.113.1", "a..b"])
def test_a_host_that_is_not_this_machine_is_one_sentence(host, capsys):
    assert main(["--host", host]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"The page cannot be served on {host}:7860 (")
    assert len(error.splitlines()) == 1


def test_a_port_in_use_is_one_sentence(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["--port", str(taken.getsockname()[1])]) == 1
    assert "choose another --host or --port." in capsys.readouterr().err


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "203.0.113.1", "example.org"])
@pytest.mark.parametrize("option", ["--allow-downloads", "--mcp"])
def test_what_is_for_this_machine_is_refused_where_others_can_reach_the_page(host, option, capsys):
    assert main(["--host", host, option]) == 1
    assert capsys.readouterr().err == f"{option} is for a page of this machine alone: leave out --host {host}.\n"


def test_without_its_package_there_is_no_mcp_server(monkeypatch, capsys):
    monkeypatch.setattr("app.find_spec", lambda name: None)
    assert main(["--mcp"]) == 1
    assert capsys.readouterr().err == (
        "--mcp needs the package mcp: run `.venv/bin/pip install -r requirements-mcp.txt`.\n"
    )
